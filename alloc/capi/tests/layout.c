/* The structures' layout, as src/sys.rs asserts it too; and that the header is C99 and C++. */
#include "../include/covalent.h"

#include <stddef.h>

#define SAME(name, condition) typedef char name[(condition) ? 1 : -1]

SAME(plane_size, sizeof(struct covalent_plane) == 24);
SAME(buffer_size, sizeof(struct covalent_buffer) == 176);
SAME(modifier_place, offsetof(struct covalent_buffer, modifier) == 16);
SAME(planes_place, offsetof(struct covalent_buffer, planes) == 24);
SAME(memory_count_place, offsetof(struct covalent_buffer, memory_count) == 120);
SAME(fds_place, offsetof(struct covalent_buffer, fds) == 124);
SAME(memory_sizes_place, offsetof(struct covalent_buffer, memory_sizes) == 144);
SAME(status_size, sizeof(enum covalent_status) == sizeof(int));
