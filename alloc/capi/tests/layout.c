/* Asserts the layout of the structures, as src/sys.rs does, and that the header compiles as C99 and C++. */
#include "../include/covalent.h"

#include <stddef.h>

#define SAME(name, condition) typedef char name[(condition) ? 1 : -1]

SAME(plane_size, sizeof(struct covalent_plane) == 24);
SAME(buffer_size, sizeof(struct covalent_buffer) == 192);
SAME(modifier_offset, offsetof(struct covalent_buffer, modifier) == 16);
SAME(planes_offset, offsetof(struct covalent_buffer, planes) == 24);
SAME(memory_count_offset, offsetof(struct covalent_buffer, memory_count) == 120);
SAME(fds_offset, offsetof(struct covalent_buffer, fds) == 124);
SAME(memory_sizes_offset, offsetof(struct covalent_buffer, memory_sizes) == 144);
SAME(visible_offset, offsetof(struct covalent_buffer, visible_x) == 176);
SAME(status_size, sizeof(enum covalent_status) == sizeof(int));
