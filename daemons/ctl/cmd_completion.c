/*
 * handfast completion: scripts for three shells, written from the table. Each
 * walks the words before the cursor as parse.c does, then offers what the table
 * has there; names of peers, tunnels and sessions come from `handfast complete`.
 */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/json.h"

#include "ctl/commands.h"
#include "ctl/ctl.h"
#include "ctl/daemon.h"
#include "ctl/link/link_kernel.h"
#include "ctl/link/link_profile.h"

/* ---- the table, as scripts need it ---- */

static void put_first_words(FILE *f, const char *group, const char *separator)
{
	char last[40] = "";

	for (size_t i = 0; i < n_commands; i++) {
		const char *name = commands[i].name;
		size_t len = group ? strlen(group) : 0, word;

		if (commands[i].hidden)
			continue;
		if (group && (strncmp(name, group, len) != 0 || name[len] != ' '))
			continue;
		if (group)
			name += len + 1;
		word = strcspn(name, " ");
		if (strlen(last) == word && strncmp(last, name, word) == 0)
			continue;
		fprintf(f, "%s%.*s", *last ? separator : "", (int)word, name);
		snprintf(last, sizeof(last), "%.*s", (int)word, name);
	}
}

/* Calls fn once for each group. */
static void for_groups(FILE *f, void (*fn)(FILE *f, const char *group))
{
	char last[40] = "", group[40];

	for (size_t i = 0; i < n_commands; i++) {
		size_t len = strcspn(commands[i].name, " ");

		snprintf(group, sizeof(group), "%.*s", (int)len, commands[i].name);
		if (commands[i].name[len] != ' ' || strcmp(group, last) == 0)
			continue;
		memcpy(last, group, sizeof(last));
		fn(f, group);
	}
}

static void put_groups(FILE *f, const char *separator)
{
	char last[40] = "";

	for (size_t i = 0; i < n_commands; i++) {
		size_t len = strcspn(commands[i].name, " ");

		if (commands[i].name[len] != ' ' ||
		    (strlen(last) == len && strncmp(last, commands[i].name, len) == 0))
			continue;
		fprintf(f, "%s%.*s", *last ? separator : "", (int)len, commands[i].name);
		snprintf(last, sizeof(last), "%.*s", (int)len, commands[i].name);
	}
}

/* All options that have a value, whatever their command. */
static void put_valued_options(FILE *f)
{
	for (const struct option *o = global_options; o->name; o++)
		if (o->arg)
			fprintf(f, " --%s", o->name);
	for (size_t i = 0; i < n_commands; i++)
		for (const struct option *o = commands[i].options; o && o->name; o++)
			if (o->arg)
				fprintf(f, " --%s", o->name);
}

static void put_choices(FILE *f, const char *const *choices)
{
	for (; *choices; choices++)
		fprintf(f, "%s%s", *choices, choices[1] ? " " : "");
}

static const char *dynamic_words(enum value_kind kind)
{
	return kind == VALUE_PEER	 ? "peers" :
	       kind == VALUE_TUNNEL	 ? "tunnels" :
	       kind == VALUE_SESSION	 ? "sessions" :
	       kind == VALUE_INTERFACE ? "interfaces" :
					 NULL;
}

static bool offers(enum value_kind kind)
{
	return kind == VALUE_FILE || kind == VALUE_CHOICE || kind == VALUE_COMMAND ||
	       dynamic_words(kind);
}

/* ---- bash ---- */

static void bash_value(FILE *f, enum value_kind kind, const char *const *choices)
{
	const char *dynamic = dynamic_words(kind);

	if (kind == VALUE_FILE) {
		fprintf(f, "compopt -o filenames 2>/dev/null; COMPREPLY=($(compgen -f -- \"$cur\"))");
		return;
	}
	fprintf(f, "COMPREPLY=($(compgen -W \"");
	if (dynamic)
		fprintf(f, "$(handfast complete %s 2>/dev/null)", dynamic);
	else if (kind == VALUE_CHOICE)
		put_choices(f, choices);
	else if (kind == VALUE_COMMAND)
		put_first_words(f, NULL, " ");
	fprintf(f, "\" -- \"$cur\"))");
}

static void bash_values_of(FILE *f, const char *command, const struct option *options)
{
	for (const struct option *o = options; o && o->name; o++) {
		if (!o->arg)
			continue;
		if (command)
			fprintf(f, "\t'%s --%s') ", command, o->name);
		else
			fprintf(f, "\t*' --%s') ", o->name);
		if (offers(o->kind)) {
			bash_value(f, o->kind, o->choices);
			fprintf(f, "; ");
		}
		fprintf(f, "return ;;\n");
	}
}

static void bash_group(FILE *f, const char *group)
{
	fprintf(f, "\t%s) COMPREPLY=($(compgen -W \"", group);
	put_first_words(f, group, " ");
	fprintf(f, "\" -- \"$cur\")); return ;;\n");
}

static void bash_options(FILE *f)
{
	fprintf(f, "\t\tcase \"$cmd\" in\n");
	for (size_t i = 0; i < n_commands; i++) {
		if (!commands[i].options || commands[i].hidden)
			continue;
		fprintf(f, "\t\t'%s') opts=\"$opts", commands[i].name);
		for (const struct option *o = commands[i].options; o->name; o++)
			fprintf(f, " --%s", o->name);
		fprintf(f, "\" ;;\n");
	}
	fprintf(f, "\t\tesac\n");
}

static void bash_arguments(FILE *f)
{
	for (size_t i = 0; i < n_commands; i++) {
		const struct argument *a = commands[i].arguments;

		if (commands[i].hidden)
			continue;
		for (size_t n = 0; n < ARGUMENTS_MAX && a[n].name; n++) {
			if (!offers(a[n].kind))
				continue;
			fprintf(f, a[n].many ? "\t'%s:'*) " : "\t'%s:%zu') ", commands[i].name, n);
			bash_value(f, a[n].kind, a[n].choices);
			fprintf(f, " ;;\n");
		}
	}
}

static void write_bash(FILE *f)
{
	fprintf(f, "# bash completion for handfast\n"
		   "_handfast()\n{\n"
		   "\tlocal cur=\"${COMP_WORDS[COMP_CWORD]}\" prev=\"${COMP_WORDS[COMP_CWORD-1]}\"\n"
		   "\tlocal cmd='' word i n=0 skip=0 opts='");
	for (const struct option *o = global_options; o->name; o++)
		fprintf(f, "%s--%s", o == global_options ? "" : " ", o->name);
	fprintf(f, "'\n\tlocal valued='");
	put_valued_options(f);
	fprintf(f, " '\n\tCOMPREPLY=()\n"
		   "\tfor ((i = 1; i < COMP_CWORD; i++)); do\n"
		   "\t\tword=\"${COMP_WORDS[i]}\"\n"
		   "\t\tif ((skip)); then\n\t\t\tskip=0\n\t\t\tcontinue\n\t\tfi\n"
		   "\t\tcase \"$word\" in\n"
		   "\t\t-*) [[ \"$valued\" == *\" $word \"* ]] && skip=1 ;;\n"
		   "\t\t*) case \"$cmd\" in\n"
		   "\t\t\t'') cmd=\"$word\" ;;\n\t\t\t");
	put_groups(f, "|");
	fprintf(f, ") cmd=\"$cmd $word\" ;;\n\t\t\t*) n=$((n + 1)) ;;\n\t\t\tesac ;;\n\t\tesac\n\tdone\n"
		   "\tcase \"$cmd $prev\" in\n");
	for (size_t i = 0; i < n_commands; i++)
		bash_values_of(f, commands[i].name, commands[i].options);
	bash_values_of(f, NULL, global_options);
	fprintf(f, "\tesac\n\tif [[ \"$cur\" == -* ]]; then\n");
	bash_options(f);
	fprintf(f, "\t\tCOMPREPLY=($(compgen -W \"$opts\" -- \"$cur\"))\n\t\treturn\n\tfi\n"
		   "\tcase \"$cmd\" in\n\t'') COMPREPLY=($(compgen -W \"");
	put_first_words(f, NULL, " ");
	fprintf(f, "\" -- \"$cur\")); return ;;\n");
	for_groups(f, bash_group);
	fprintf(f, "\tesac\n\tcase \"$cmd:$n\" in\n");
	bash_arguments(f);
	fprintf(f, "\tesac\n}\ncomplete -F _handfast handfast\n");
}

/* ---- zsh ---- */

/* Inside single quotes; colons separate a word from its description. */
static void zsh_text(FILE *f, const char *text)
{
	for (; *text; text++) {
		if (*text == '\'')
			fprintf(f, "'\\''");
		else if (*text == ':' || *text == '\\')
			fprintf(f, "\\%c", *text);
		else
			fputc(*text, f);
	}
}

static void zsh_value(FILE *f, enum value_kind kind, const char *const *choices)
{
	const char *dynamic = dynamic_words(kind);

	if (kind == VALUE_FILE) {
		fprintf(f, "_files");
	} else if (dynamic) {
		fprintf(f, "compadd -- ${(f)\"$(handfast complete %s 2>/dev/null)\"}", dynamic);
	} else {
		fprintf(f, "compadd -- ");
		if (kind == VALUE_CHOICE)
			put_choices(f, choices);
		else
			put_first_words(f, NULL, " ");
	}
}

static void zsh_values_of(FILE *f, const char *command, const struct option *options)
{
	for (const struct option *o = options; o && o->name; o++) {
		if (!o->arg)
			continue;
		if (command)
			fprintf(f, "\t('%s --%s') ", command, o->name);
		else
			fprintf(f, "\t(*' --%s') ", o->name);
		if (offers(o->kind)) {
			zsh_value(f, o->kind, o->choices);
			fprintf(f, "; ");
		}
		fprintf(f, "return ;;\n");
	}
}

static void zsh_options(FILE *f, const struct option *options)
{
	for (const struct option *o = options; o && o->name; o++) {
		fprintf(f, " '--%s:", o->name);
		zsh_text(f, o->help);
		fprintf(f, "'");
	}
}

/* Words of a group, or the first words, each with what it does. */
static void zsh_words(FILE *f, const char *group)
{
	char last[40] = "";

	for (size_t i = 0; i < n_commands; i++) {
		const char *name = commands[i].name, *summary = commands[i].summary;
		size_t len = group ? strlen(group) : 0, word;

		if (commands[i].hidden ||
		    (group && (strncmp(name, group, len) != 0 || name[len] != ' ')))
			continue;
		name += group ? len + 1 : 0;
		word = strcspn(name, " ");
		if (strlen(last) == word && strncmp(last, name, word) == 0)
			continue;
		snprintf(last, sizeof(last), "%.*s", (int)word, name);
		fprintf(f, " '%s:", last);
		zsh_text(f, name[word] ? "a group of commands" : summary);
		fprintf(f, "'");
	}
}

static void zsh_group(FILE *f, const char *group)
{
	fprintf(f, "\t(%s) list=(", group);
	zsh_words(f, group);
	fprintf(f, "); _describe command list; return ;;\n");
}

static void zsh_arguments(FILE *f)
{
	for (size_t i = 0; i < n_commands; i++) {
		const struct argument *a = commands[i].arguments;

		if (commands[i].hidden)
			continue;
		for (size_t n = 0; n < ARGUMENTS_MAX && a[n].name; n++) {
			if (!offers(a[n].kind))
				continue;
			fprintf(f, a[n].many ? "\t('%s:'*) " : "\t('%s:%zu') ", commands[i].name, n);
			zsh_value(f, a[n].kind, a[n].choices);
			fprintf(f, " ;;\n");
		}
	}
}

static void write_zsh(FILE *f)
{
	fprintf(f, "#compdef handfast\n"
		   "_handfast()\n{\n"
		   "\tlocal cmd='' word valued='");
	put_valued_options(f);
	fprintf(f, " '\n\tlocal -i i n=0 skip=0\n\tlocal -a list opts\n"
		   "\tfor ((i = 2; i < CURRENT; i++)); do\n"
		   "\t\tword=\"${words[i]}\"\n"
		   "\t\tif ((skip)); then\n\t\t\tskip=0\n\t\t\tcontinue\n\t\tfi\n"
		   "\t\tcase \"$word\" in\n"
		   "\t\t(-*) [[ \"$valued\" == *\" $word \"* ]] && skip=1 ;;\n"
		   "\t\t(*) case \"$cmd\" in\n"
		   "\t\t\t('') cmd=\"$word\" ;;\n\t\t\t(");
	put_groups(f, "|");
	fprintf(f, ") cmd=\"$cmd $word\" ;;\n\t\t\t(*) n=$((n + 1)) ;;\n\t\t\tesac ;;\n\t\tesac\n"
		   "\tdone\n\tcase \"$cmd ${words[CURRENT-1]}\" in\n");
	for (size_t i = 0; i < n_commands; i++)
		zsh_values_of(f, commands[i].name, commands[i].options);
	zsh_values_of(f, NULL, global_options);
	fprintf(f, "\tesac\n\tif [[ \"${words[CURRENT]}\" == -* ]]; then\n\t\topts=(");
	zsh_options(f, global_options);
	fprintf(f, ")\n\t\tcase \"$cmd\" in\n");
	for (size_t i = 0; i < n_commands; i++) {
		if (!commands[i].options || commands[i].hidden)
			continue;
		fprintf(f, "\t\t('%s') opts+=(", commands[i].name);
		zsh_options(f, commands[i].options);
		fprintf(f, ") ;;\n");
	}
	fprintf(f, "\t\tesac\n\t\t_describe -o option opts\n\t\treturn\n\tfi\n"
		   "\tcase \"$cmd\" in\n\t('') list=(");
	zsh_words(f, NULL);
	fprintf(f, "); _describe command list; return ;;\n");
	for_groups(f, zsh_group);
	fprintf(f, "\tesac\n\tcase \"$cmd:$n\" in\n");
	zsh_arguments(f);
	fprintf(f, "\tesac\n}\n"
		   "if [ \"${funcstack[1]}\" = _handfast ]; then\n\t_handfast \"$@\"\nelse\n"
		   "\tcompdef _handfast handfast\nfi\n");
}

/* ---- fish ---- */

static void fish_text(FILE *f, const char *text)
{
	fputc('\'', f);
	for (; *text; text++)
		fprintf(f, *text == '\'' || *text == '\\' ? "\\%c" : "%c", *text);
	fputc('\'', f);
}

static void fish_value(FILE *f, enum value_kind kind, const char *const *choices)
{
	const char *dynamic = dynamic_words(kind);

	if (kind == VALUE_FILE) {
		fprintf(f, " -F");
	} else if (dynamic) {
		fprintf(f, " -a '(handfast complete %s 2>/dev/null)'", dynamic);
	} else if (kind == VALUE_CHOICE || kind == VALUE_COMMAND) {
		fprintf(f, " -a '");
		if (kind == VALUE_CHOICE)
			put_choices(f, choices);
		else
			put_first_words(f, NULL, " ");
		fprintf(f, "'");
	}
}

static void fish_option(FILE *f, const char *command, const struct option *o)
{
	fprintf(f, "complete -c handfast");
	if (command)
		fprintf(f, " -n '__handfast_at \"%s\"'", command);
	fprintf(f, " -l %s", o->name);
	if (o->letter)
		fprintf(f, " -s %c", o->letter);
	if (o->arg) {
		/* -F asks for files, which -x forbids. */
		fprintf(f, o->kind == VALUE_FILE ? " -r" : " -x");
		fish_value(f, o->kind, o->choices);
	}
	fprintf(f, " -d ");
	fish_text(f, o->help);
	fprintf(f, "\n");
}

static void fish_words(FILE *f)
{
	char last[40] = "", group[40];

	for (size_t i = 0; i < n_commands; i++) {
		const char *name = commands[i].name;
		size_t len = strcspn(name, " ");

		if (commands[i].hidden)
			continue;
		snprintf(group, sizeof(group), "%.*s", (int)len, name);
		if (strcmp(group, last) != 0) {
			fprintf(f, "complete -c handfast -n '__handfast_at \"\"' -a %s -d ", group);
			fish_text(f, name[len] ? "a group of commands" : commands[i].summary);
			fprintf(f, "\n");
			memcpy(last, group, sizeof(last));
		}
		if (name[len]) {
			fprintf(f, "complete -c handfast -n '__handfast_at \"%s\"' -a %s -d ", group,
				name + len + 1);
			fish_text(f, commands[i].summary);
			fprintf(f, "\n");
		}
	}
}

static void fish_arguments(FILE *f)
{
	for (size_t i = 0; i < n_commands; i++) {
		const struct argument *a = commands[i].arguments;

		if (commands[i].hidden)
			continue;
		for (size_t n = 0; n < ARGUMENTS_MAX && a[n].name; n++) {
			if (!offers(a[n].kind))
				continue;
			fprintf(f, "complete -c handfast -n '__handfast_at \"%s\" %s'",
				commands[i].name, a[n].many ? "any" : n == 0 ? "0" : n == 1 ? "1" : "2");
			fish_value(f, a[n].kind, a[n].choices);
			fprintf(f, "\n");
		}
	}
}

static void write_fish(FILE *f)
{
	fprintf(f, "# fish completion for handfast\n"
		   "# __handfast_at COMMAND [N]: the words so far name COMMAND, N arguments after it.\n"
		   "function __handfast_at\n"
		   "\tset -l cmd ''\n\tset -l n 0\n\tset -l skip 0\n"
		   "\tset -l before (commandline -opc)\n"
		   "\tfor word in $before[2..-1]\n"
		   "\t\tif test $skip = 1\n\t\t\tset skip 0\n\t\t\tcontinue\n\t\tend\n"
		   "\t\tswitch $word\n\t\t\tcase '-*'\n\t\t\t\tcontains -- $word");
	put_valued_options(f);
	fprintf(f, "; and set skip 1\n\t\t\tcase '*'\n\t\t\t\tswitch \"$cmd\"\n"
		   "\t\t\t\t\tcase ''\n\t\t\t\t\t\tset cmd $word\n\t\t\t\t\tcase ");
	put_groups(f, " ");
	fprintf(f, "\n\t\t\t\t\t\tset cmd \"$cmd $word\"\n\t\t\t\t\tcase '*'\n"
		   "\t\t\t\t\t\tset n (math $n + 1)\n\t\t\t\tend\n\t\tend\n\tend\n"
		   "\ttest \"$cmd\" = \"$argv[1]\"; or return 1\n"
		   "\ttest (count $argv) -lt 2; or test $argv[2] = any; or test $argv[2] = $n\n"
		   "end\n"
		   "complete -c handfast -f\n");
	for (const struct option *o = global_options; o->name; o++)
		fish_option(f, NULL, o);
	fish_words(f);
	for (size_t i = 0; i < n_commands; i++)
		for (const struct option *o = commands[i].options; o && o->name; o++)
			fish_option(f, commands[i].name, o);
	fish_arguments(f);
}

/* ---- the handlers ---- */

static void script_text(const struct ctl *c, const json_t *result)
{
	(void)c;
	fputs(json_get_str(result, "script"), stdout);
}

int cmd_completion(struct ctl *c)
{
	const char *shell = ctl_argument(c, 0);
	_cleanup_free_ char *text = NULL;
	size_t len = 0;
	FILE *f = open_memstream(&text, &len);

	if (!f)
		return ctl_fail(c, EXIT_FAILED, ERROR_INTERNAL, NULL, "no memory");
	if (strcmp(shell, "bash") == 0)
		write_bash(f);
	else if (strcmp(shell, "zsh") == 0)
		write_zsh(f);
	else
		write_fish(f);
	if (fclose(f) != 0)
		return ctl_fail(c, EXIT_FAILED, ERROR_INTERNAL, NULL, "no memory");
	return ctl_result(c, json_pack("{s:s, s:s}", "shell", shell, "script", text), script_text);
}

#define WORD_CHARACTERS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-"

static void words_text(const struct ctl *c, const json_t *result)
{
	const json_t *word;
	size_t i;
	(void)c;

	json_array_foreach(json_object_get(result, "words"), i, word)
		printf("%s\n", json_string_value(word));
}

/* Interfaces that a cable may be in. */
static void add_interfaces(json_t *words)
{
	_cleanup_(link_list_done) struct link_list list = { 0 };

	if (link_read_all(&list) != 0)
		return;
	for (size_t i = 0; i < list.n; i++)
		if (link_is_wired(&list.all[i]) && link_is_plain_name(list.all[i].name))
			json_array_append_new(words, json_string(list.all[i].name));
}

/* Shells look at words once more (bash's compgen expands $ and `): only what no shell takes for its own. */
static bool is_harmless(const char *word)
{
	return word && *word && *word != '-' && !word[strspn(word, WORD_CHARACTERS)];
}

/* Words for the scripts above: nothing, when the daemon cannot be asked. */
int cmd_complete(struct ctl *c)
{
	static const struct {
		const char *kind, *daemon, *method, *list, *key;
	} sources[] = {
		{ "peers", PAIRINGD, "Pairing.Peers", "peers", "name" },
		{ "tunnels", PSKD, "Tunnel.List", "tunnels", "name" },
		/* A paired device's tunnel may not be there yet: its name will do. */
		{ "tunnels", PAIRINGD, "Pairing.Peers", "peers", "name" },
		{ "sessions", RELAYD, "Relay.Sessions", "sessions", "code" },
	};
	json_t *words = json_array();

	/* Somebody waits with a finger on Tab. */
	c->answer_ms = 1000;
	for (size_t i = 0; i < ARRAY_SIZE(sources); i++) {
		_cleanup_json_ json_t *reply = NULL;
		struct failure f = { 0 };
		const json_t *one;
		size_t n;

		if (strcmp(sources[i].kind, ctl_argument(c, 0)) != 0 ||
		    daemon_try(c, sources[i].daemon, sources[i].method, NULL, NULL, NULL, &reply, &f))
			continue;
		json_array_foreach(json_object_get(reply, sources[i].list), n, one) {
			json_t *word = json_object_get(one, sources[i].key);
			bool twice = false;

			for (size_t k = 0; k < json_array_size(words); k++)
				twice = twice || json_equal(json_array_get(words, k), word);
			if (is_harmless(json_string_value(word)) && !twice)
				json_array_append(words, word);
		}
	}
	if (strcmp(ctl_argument(c, 0), "interfaces") == 0)
		add_interfaces(words);
	return ctl_result(c, json_pack("{s:o}", "words", words), words_text);
}
