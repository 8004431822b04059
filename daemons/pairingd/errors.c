/* Sentences. Each says what happened and what to do; none says anything of a secret. */
#include "pairingd/errors.h"

#include <stdio.h>
#include <string.h>

static const char begin_anew[] = "Begin anew: “handfast pair” on one device makes a new code and PIN.";

static struct pairing_error wrong_secret(enum secret_class class)
{
	if (class == SECRET_SEC)
		return (struct pairing_error){
			PAIRING_ERROR("WrongSecret"),
			"The two devices were given different secrets, or somebody between them altered what they said.",
			"Give the same --secret-file on both devices and begin anew.",
		};
	return (struct pairing_error){
		PAIRING_ERROR("WrongSecret"),
		"The PIN was wrong, or somebody between the devices altered what they said. This code and PIN are dead.",
		"Begin anew: “handfast pair” makes a new code and PIN. A PIN can be tried once only.",
	};
}

static const char *peer_reason(enum pairing_code code)
{
	switch (code) {
	case PAIRING_CANCELLED:
		return "The pairing was cancelled on the other device.";
	case PAIRING_EXPIRED:
		return "The other device waited too long and gave up.";
	case PAIRING_STORAGE_FAILED:
		return "The other device could not store the pairing. Nothing is stored here either.";
	case PAIRING_TAMPERED:
		return "The other device got a message that this one did not send so, and ended the pairing.";
	case PAIRING_WRONG_SECRET:
		return "The other device says that the secret was wrong.";
	default:
		return "The other device ended the pairing.";
	}
}

struct pairing_error pairing_error(enum pairing_code code, enum pairing_code peer_code,
				   enum secret_class class)
{
	switch (code) {
	case PAIRING_WRONG_SECRET:
		return wrong_secret(class);
	case PAIRING_OTHER_CLASS:
		return (struct pairing_error){
			PAIRING_ERROR("WrongSecret"),
			"One device uses a PIN and the other a secret file. No PIN was used up.",
			"Give --secret-file on both devices or on neither.",
		};
	case PAIRING_SAS_MISMATCH:
		return (struct pairing_error){
			PAIRING_ERROR("SasMismatch"),
			"The numbers on the two screens were not the same, so somebody may be between the devices. Nothing is stored.",
			"Begin anew. If it happens again with care, do not trust the relay or the network.",
		};
	case PAIRING_NO_COMMON_PROFILE:
		return (struct pairing_error){
			PAIRING_ERROR("NoCommonProfile"),
			"The two devices have no pairing profile in common that both accept.",
			"Update handfast on the older one, or lower minimum_profile in pairingd.yaml.",
		};
	case PAIRING_DOWNGRADE:
		return (struct pairing_error){
			PAIRING_ERROR("Downgrade"),
			"The two devices saw different offers: somebody between them tried to make the pairing weaker.",
			"Use another relay or network. No PIN was used up.",
		};
	case PAIRING_TAMPERED:
		return (struct pairing_error){
			PAIRING_ERROR("Tampered"),
			"A message came altered, twice, or out of order: somebody between the devices interferes.",
			begin_anew,
		};
	case PAIRING_EXPIRED:
		return (struct pairing_error){
			PAIRING_ERROR("Expired"),
			"The time for this step is over.",
			begin_anew,
		};
	case PAIRING_CANCELLED:
		return (struct pairing_error){
			PAIRING_ERROR("Cancelled"),
			"The pairing was cancelled here.",
			begin_anew,
		};
	case PAIRING_OWN_DEVICE:
		return (struct pairing_error){
			PAIRING_ERROR("OwnDevice"),
			"The other device has this device's own identity key.",
			"Where a disk was copied, remove identity.key from pairingd's state folder on one of them and start it again.",
		};
	case PAIRING_STORAGE_FAILED:
		return (struct pairing_error){
			PAIRING_ERROR("StorageFailed"),
			"What must be kept could not be written to disk; the other device was told.",
			"See pairingd's log for the reason, and whether the disk is full.",
		};
	case PAIRING_PEER_ABORTED:
		return (struct pairing_error){
			PAIRING_ERROR("PeerAborted"),
			peer_reason(peer_code),
			begin_anew,
		};
	case PAIRING_PEER_LEFT:
		return (struct pairing_error){
			PAIRING_ERROR("PeerLeft"),
			"The other device left the session before the pairing was done. Nothing is stored.",
			begin_anew,
		};
	default:
		return (struct pairing_error){
			"io.handfast.Daemon.Internal",
			"pairingd could not go on: it lacks memory.",
			"See pairingd's log.",
		};
	}
}

struct pairing_error relay_error(enum relay_client_outcome outcome, const char *detail,
				 char *message_buf, size_t cap)
{
	struct pairing_error e = { .message = message_buf };

	switch (outcome) {
	case RELAY_CLIENT_E_UNREACHABLE:
		snprintf(message_buf, cap, "The relay cannot be reached: %s.", detail);
		e.code = PAIRING_ERROR("RelayUnreachable");
		e.hint = strstr(detail, "on this machine") ?
				 "“sudo systemctl start relayd”, or name a relay with --relay." :
				 "See that relayd runs there, and that its address and port are right.";
		break;
	case RELAY_CLIENT_E_REFUSED:
		snprintf(message_buf, cap, "The relay refuses: %s.", detail);
		e.code = PAIRING_ERROR("RelayRefused");
		e.hint = "Wait a minute and try again; the relay's log says why.";
		break;
	case RELAY_CLIENT_E_NO_SESSION:
		snprintf(message_buf, cap, "The relay knows no such session that could be joined.");
		e.code = PAIRING_ERROR("NoSuchSession");
		e.hint = "Compare the code with the other screen. A code is good for half an hour and for one pairing.";
		break;
	case RELAY_CLIENT_E_TAMPERED:
		snprintf(message_buf, cap, "The relay cannot be trusted with this: %s.", detail);
		e.code = PAIRING_ERROR("Tampered");
		e.hint = begin_anew;
		break;
	case RELAY_CLIENT_E_LOST:
		snprintf(message_buf, cap, "The connection to the relay was lost: %s.", detail);
		e.code = PAIRING_ERROR("PeerLeft");
		e.hint = begin_anew;
		break;
	}
	return e;
}
