/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Covalent: dma-bufs that a camera, a display, a codec and the CPU can share.
 *
 * A program names the devices that share the pictures in a JSON object. covalent_plan() queries these devices and the memory sources of
 * this machine, and returns a plan: which source allocates, in which format and layout. covalent_allocate() returns the dma-bufs, which
 * the program passes to V4L2 (V4L2_MEMORY_DMABUF), KMS (PRIME, drmModeAddFB2WithModifiers), Vulkan, EGL or Wayland's linux-dmabuf.
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
 *   size          "WIDTHxHEIGHT" in pixels; required
 *   count         the least number of buffers; the default is 1
 *   format        the only format that is permitted, by its four characters or its name, such as "XR24" or "NV12"
 *   camera        a V4L2 device that writes the pictures (camera, decoder), such as "/dev/video0", or a list of them
 *   output        a V4L2 device that reads them (encoder, output), or a list
 *   display       a card whose primary plane shows them, such as "/dev/dri/card0", or a list
 *   cpu           "read", "write" or ["read", "write"]: the CPU accesses every picture
 *   participants  participants that this library cannot query, such as a compositor or a GPU, as `covalent probe --json` prints them
 *   source        the only source that is permitted, such as "heap:system"; `covalent probe` lists them
 *   possible      true: also accept a plan that is possible but not guaranteed; the default is false
 *
 * A request that `covalent plan --record FILE` has written is accepted too. No device is queried for it.
 *
 * Access to the buffers:
 * - The memory of a V4L2 queue is not a source here, since only the process that has the queue open can stream into it. The program
 *   opens the device itself, sets the planned format and queues the buffers.
 * - The CPU accesses a buffer between DMA_BUF_IOCTL_SYNC with START and with END. The APIs of the devices order the other accesses.
 *
 * Functions can be called from several threads, but each object only from one thread at a time. Functions block only for system calls.
 * They print nothing. Strings are UTF-8 and end with 0.
 */
#ifndef COVALENT_H
#define COVALENT_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The result of a call. The numbers are those of the exit statuses of Covalent's programs. */
enum covalent_status {
	COVALENT_OK = 0,
	/* An error that no other status describes. */
	COVALENT_UNEXPECTED = 1,
	/* The request is not valid, or an argument is NULL or too small. */
	COVALENT_INVALID = 2,
	/* A device of the request cannot be opened or queried. */
	COVALENT_NO_DEVICE = 3,
	/* No buffer satisfies all participants. covalent_explain() returns the reason and the remedy. */
	COVALENT_NO_PLAN = 4,
	/* The source refused the allocation. */
	COVALENT_NO_MEMORY = 7
};

/* The most planes and dma-bufs of one buffer. */
#define COVALENT_MAX_PLANES 4

/* A plan, or the reason why there is none. */
struct covalent_plan;

/* The position of one plane of a picture. */
struct covalent_plane {
	/* The index of the plane's dma-buf in fds. */
	uint32_t memory;
	/* The bytes from the start of one row to the next. */
	uint32_t stride;
	/* The offset of the plane in the dma-buf, in bytes. */
	uint64_t offset;
	/* The size of the plane in bytes. */
	uint64_t size;
};

/* One buffer: its dma-bufs, and the layout with which devices import them. */
struct covalent_buffer {
	/* The coded size in pixels, which devices are told: VIDIOC_S_FMT, drmModeAddFB2WithModifiers, vkCreateImage. */
	uint32_t width;
	uint32_t height;
	/* The format: DRM_FORMAT_* of drm_fourcc.h. */
	uint32_t fourcc;
	uint32_t plane_count;
	/* The modifier: DRM_FORMAT_MOD_* of drm_fourcc.h. */
	uint64_t modifier;
	struct covalent_plane planes[COVALENT_MAX_PLANES];
	/* The number of dma-bufs. */
	uint32_t memory_count;
	/* The file descriptors of the dma-bufs, which the program owns and closes by covalent_close(); -1 from memory_count on. */
	int32_t fds[COVALENT_MAX_PLANES];
	/* The size of each dma-buf in bytes. */
	uint64_t memory_sizes[COVALENT_MAX_PLANES];
	/*
	 * The part of the coded size that holds the picture, in pixels; usually all of it. Where it is not, the program passes it on:
	 * VIDIOC_S_SELECTION, SRC_X, SRC_Y, SRC_W and SRC_H of a KMS plane, texture coordinates, wp_viewport.set_source.
	 */
	uint32_t visible_x;
	uint32_t visible_y;
	uint32_t visible_width;
	uint32_t visible_height;
};

/*
 * Queries the devices and the memory sources of this machine, and plans.
 *
 * After COVALENT_OK and COVALENT_NO_PLAN, *plan is set and has to be freed by covalent_plan_free(). Otherwise it is NULL. After
 * COVALENT_NO_PLAN, covalent_last_error() and covalent_explain() return the same text.
 */
enum covalent_status covalent_plan(const char *request, struct covalent_plan **plan);

/*
 * Returns the plan as one JSON object, as `covalent plan --json` prints it: the format, the layout, the source and the importers, or
 * the conflict. The string has to be freed by covalent_string_free(). It is NULL where plan is NULL or no memory is left.
 */
char *covalent_describe(const struct covalent_plan *plan);

/*
 * Returns a text of at most 64 lines: why this plan was chosen and why each other source was not, or which constraints conflict and what
 * would help. The string has to be freed by covalent_string_free(). It is NULL where plan is NULL or no memory is left.
 */
char *covalent_explain(const struct covalent_plan *plan);

/* Returns the number of buffers of the plan, which is at least the requested count. It is 0 where there is no plan. */
size_t covalent_buffer_count(const struct covalent_plan *plan);

/*
 * Allocates the buffers of the plan and writes them to the array `buffers`, which has space for `count` of them. The plan has
 * covalent_buffer_count() buffers.
 *
 * After an error nothing is allocated, and the array is unchanged. A further call allocates further buffers of the same plan.
 */
enum covalent_status covalent_allocate(struct covalent_plan *plan, struct covalent_buffer *buffers, size_t count);

/* Closes the dma-bufs of buffers and sets them to -1. The memory is freed when no process or device refers to it. */
void covalent_close(struct covalent_buffer *buffers, size_t count);

/* Frees a plan. Its buffers stay. A call with NULL has no effect. */
void covalent_plan_free(struct covalent_plan *plan);

/* Frees a string of covalent_describe() or covalent_explain(). A call with NULL has no effect. */
void covalent_string_free(char *string);

/*
 * Returns the error of this thread's last call that did not return COVALENT_OK, with the operation, the device, the cause and the remedy.
 * The string is valid until the thread's next call. It is never NULL.
 */
const char *covalent_last_error(void);

#ifdef __cplusplus
}
#endif

#endif
