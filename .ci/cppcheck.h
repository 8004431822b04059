/* jansson's loops, in a form that cppcheck can read without its header. */
#define json_array_foreach(a, i, v) for (i = 0; (v = json_array_get(a, i)); i++)
#define json_object_foreach(o, k, v) for (k = first_key(o); (v = value_of(k)); k = next_key(o, k))
