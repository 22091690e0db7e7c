/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Covalent: one dma-buf that a camera, a display, a codec and the processor all take.
 *
 * A program says in JSON who shares the pictures. covalent_plan() asks these devices and the memory of this machine, and decides:
 * who allocates, in which format and layout. covalent_allocate() returns the dma-bufs, which the program gives to V4L2
 * (V4L2_MEMORY_DMABUF), KMS (PRIME, drmModeAddFB2WithModifiers), Vulkan, EGL or Wayland's linux-dmabuf.
 *
 *     struct covalent_plan *plan;
 *     struct covalent_buffer buffers[4];
 *
 *     if (covalent_plan("{\"size\": \"640x480\", \"count\": 4, \"camera\": \"/dev/video0\","
 *                       " \"display\": \"/dev/dri/card0\"}", &plan) != COVALENT_OK)
 *         die(covalent_last_error());
 *     if (covalent_allocate(plan, buffers, 4) != COVALENT_OK)
 *         die(covalent_last_error());
 *     ...
 *     covalent_close(buffers, 4);
 *     covalent_plan_free(plan);
 *
 * The request is one JSON object:
 *
 *   size          "WIDTHxHEIGHT" in pixels; has to be there
 *   count         least number of buffers; 1 where it is left out
 *   format        the only format wanted, by its four characters or its name, such as "XR24" or "NV12"
 *   camera        a V4L2 device that writes the pictures (camera, decoder), such as "/dev/video0", or a list of them
 *   output        a V4L2 device that reads them (encoder, output), or a list
 *   display       a card whose primary plane shows them, such as "/dev/dri/card0", or a list
 *   cpu           "read", "write" or ["read", "write"]: the processor touches every picture
 *   participants  whoever cannot be asked here, as `covalent probe --json` prints participants: a compositor, a GPU
 *   source        take memory from this source alone, such as "heap:system"; `covalent probe` lists them
 *   possible      true: take a plan too that works only if memory happens to suit; false where it is left out
 *
 * A request as `covalent plan --record FILE` writes it is taken too: nobody is asked then.
 *
 * Who writes and who reads:
 * - A V4L2 queue's own memory is no source here, since only who has the queue open can stream into it. The program opens the
 *   device itself, sets the planned format and queues the buffers.
 * - Access by the processor goes between DMA_BUF_IOCTL_SYNC with START and END. Other accesses are ordered as the devices'
 *   APIs say.
 *
 * Functions can be called from several threads, with one object in one thread at a time. No function blocks for longer than the
 * kernel's answers take. Nothing is printed. Strings are UTF-8 and end with 0.
 */
#ifndef COVALENT_H
#define COVALENT_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* What became of a call. The numbers are those of the exit statuses of Covalent's programs. */
enum covalent_status {
	COVALENT_OK = 0,
	/* An error that no other status describes. */
	COVALENT_UNEXPECTED = 1,
	/* The request is no such object, or an argument is NULL or too small. */
	COVALENT_INVALID = 2,
	/* A device that the request names cannot be asked. */
	COVALENT_NO_DEVICE = 3,
	/* No buffer serves all: covalent_explain() says why, and what would help. */
	COVALENT_NO_PLAN = 4,
	/* The source did not give the memory. */
	COVALENT_NO_MEMORY = 7
};

/* The most planes and memories that one buffer has. */
#define COVALENT_MAX_PLANES 4

/* A plan, or the reason why there is none. */
struct covalent_plan;

/* Where one plane of a picture lies. */
struct covalent_plane {
	/* Index of its memory among the buffer's. */
	uint32_t memory;
	/* Bytes from the start of one row to the next. */
	uint32_t stride;
	/* Bytes from the start of the memory. */
	uint64_t offset;
	/* Bytes that the plane takes. */
	uint64_t size;
};

/* One buffer: its dma-bufs, and the layout that devices import them with. */
struct covalent_buffer {
	/* In pixels. */
	uint32_t width;
	uint32_t height;
	/* DRM_FORMAT_*, as drm_fourcc.h numbers them. */
	uint32_t fourcc;
	uint32_t plane_count;
	/* DRM_FORMAT_MOD_*. */
	uint64_t modifier;
	struct covalent_plane planes[COVALENT_MAX_PLANES];
	uint32_t memory_count;
	/* The dma-bufs, which belong to the program (covalent_close()); -1 from memory_count on. */
	int32_t fds[COVALENT_MAX_PLANES];
	/* Bytes of each. */
	uint64_t memory_sizes[COVALENT_MAX_PLANES];
};

/*
 * Asks the devices and the memory of this machine, and plans.
 *
 * After COVALENT_OK and COVALENT_NO_PLAN *plan is set, and has to be given to covalent_plan_free(); else it is NULL. After
 * COVALENT_NO_PLAN covalent_last_error() and covalent_explain() say the same.
 */
enum covalent_status covalent_plan(const char *request, struct covalent_plan **plan);

/*
 * Returns the plan as one JSON object, as `covalent plan --json` prints it: the format, the layout, the source, who imports; or the
 * conflict. To be given to covalent_string_free(); NULL where plan is NULL or memory is short.
 */
char *covalent_describe(const struct covalent_plan *plan);

/*
 * Returns in words why the plan is this one and why each other source was not taken; or who cannot go together, and what would
 * help. At most 64 lines. To be given to covalent_string_free(); NULL where plan is NULL or memory is short.
 */
char *covalent_explain(const struct covalent_plan *plan);

/* Returns how many buffers the plan has: at least as many as were asked for. 0 where there is no plan. */
size_t covalent_buffer_count(const struct covalent_plan *plan);

/*
 * Allocates the plan's buffers, as many as covalent_buffer_count() says, and writes them to buffers, which has room for `count`.
 *
 * After an error nothing stays allocated, and buffers is as it was. Can be called again, for other buffers of the same plan.
 */
enum covalent_status covalent_allocate(struct covalent_plan *plan, struct covalent_buffer *buffers, size_t count);

/* Closes the dma-bufs of buffers, and sets them to -1. Memory is freed when nobody has it any more. */
void covalent_close(struct covalent_buffer *buffers, size_t count);

/* Frees a plan; its buffers stay. NULL is nothing. */
void covalent_plan_free(struct covalent_plan *plan);

/* Frees what covalent_describe() or covalent_explain() returned. NULL is nothing. */
void covalent_string_free(char *string);

/*
 * Returns what went wrong in this thread's last call that returned another status than COVALENT_OK, with the operation, the device,
 * the cause and the remedy. Valid until the thread's next call. Never NULL.
 */
const char *covalent_last_error(void);

#ifdef __cplusplus
}
#endif

#endif
