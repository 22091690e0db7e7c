/*
 * Captures from a camera into buffers that a card imports too, without a copy: capture [/dev/video0] [/dev/dri/card0]
 *
 * Covalent plans and allocates. This program passes the dma-bufs to the camera (V4L2_MEMORY_DMABUF) and to the card (PRIME), and reads one
 * captured frame with the CPU.
 */
#include <covalent.h>

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <drm/drm.h>
#include <drm/drm_mode.h>
#include <linux/dma-buf.h>
#include <linux/videodev2.h>

#define BUFFERS 4
#define FRAMES 10

static void die(const char *what, const char *why)
{
	fprintf(stderr, "capture: %s: %s\n", what, why);
	exit(1);
}

static void call(int fd, unsigned long request, void *argument, const char *name)
{
	/* DMA_BUF_IOCTL_SYNC and the ioctls of DRM have to be restarted on EAGAIN too. The devices are opened without O_NONBLOCK. */
	while (ioctl(fd, request, argument) == -1)
		if (errno != EINTR && errno != EAGAIN)
			die(name, strerror(errno));
}

/* Sets the planned format, and the picture's place in it. A driver that chooses another one is an error. */
static void set_format(int camera, const struct covalent_buffer *buffer)
{
	struct v4l2_format format = { .type = V4L2_BUF_TYPE_VIDEO_CAPTURE };
	struct v4l2_pix_format *pix = &format.fmt.pix;
	struct v4l2_selection selection = {
		.type = V4L2_BUF_TYPE_VIDEO_CAPTURE,
		.target = V4L2_SEL_TGT_COMPOSE,
		.r = { (int)buffer->visible_x, (int)buffer->visible_y, buffer->visible_width, buffer->visible_height },
	};

	/* DRM's XR24 is V4L2_PIX_FMT_XBGR32, since V4L2 names formats by the order of their bytes in memory. */
	pix->width = buffer->width;
	pix->height = buffer->height;
	pix->pixelformat = V4L2_PIX_FMT_XBGR32;
	pix->bytesperline = buffer->planes[0].stride;
	call(camera, VIDIOC_S_FMT, &format, "VIDIOC_S_FMT");
	if (pix->pixelformat != V4L2_PIX_FMT_XBGR32 || pix->bytesperline != buffer->planes[0].stride)
		die("VIDIOC_S_FMT", "the driver chose another format than the planned one");
	if (buffer->visible_width == buffer->width && buffer->visible_height == buffer->height)
		return;
	call(camera, VIDIOC_S_SELECTION, &selection, "VIDIOC_S_SELECTION");
	if (selection.r.left != (int)buffer->visible_x || selection.r.top != (int)buffer->visible_y ||
	    selection.r.width != buffer->visible_width || selection.r.height != buffer->visible_height)
		die("VIDIOC_S_SELECTION", "the driver chose another rectangle than the planned one");
}

static void queue(int camera, unsigned int index, const struct covalent_buffer *buffer)
{
	struct v4l2_buffer queued = {
		.type = V4L2_BUF_TYPE_VIDEO_CAPTURE,
		.memory = V4L2_MEMORY_DMABUF,
		.index = index,
		.m.fd = buffer->fds[0],
		.length = (unsigned int)buffer->memory_sizes[0],
	};

	call(camera, VIDIOC_QBUF, &queued, "VIDIOC_QBUF");
}

/* Imports a buffer as a framebuffer, which a plane could show, and removes the framebuffer. */
static void import(int card, const struct covalent_buffer *buffer)
{
	struct drm_mode_fb_cmd2 framebuffer = {
		.width = buffer->width,
		.height = buffer->height,
		.pixel_format = buffer->fourcc,
	};
	struct drm_gem_close closed = { 0 };

	for (unsigned int plane = 0; plane < buffer->plane_count; plane++) {
		struct drm_prime_handle prime = { .fd = buffer->fds[buffer->planes[plane].memory] };

		call(card, DRM_IOCTL_PRIME_FD_TO_HANDLE, &prime, "DRM_IOCTL_PRIME_FD_TO_HANDLE");
		framebuffer.handles[plane] = closed.handle = prime.handle;
		framebuffer.pitches[plane] = buffer->planes[plane].stride;
		framebuffer.offsets[plane] = (unsigned int)buffer->planes[plane].offset;
	}
	call(card, DRM_IOCTL_MODE_ADDFB2, &framebuffer, "DRM_IOCTL_MODE_ADDFB2");
	call(card, DRM_IOCTL_MODE_RMFB, &framebuffer.fb_id, "DRM_IOCTL_MODE_RMFB");
	call(card, DRM_IOCTL_GEM_CLOSE, &closed, "DRM_IOCTL_GEM_CLOSE");
}

/* Returns a checksum of the pixels of a picture. */
static unsigned int checksum(const struct covalent_buffer *buffer)
{
	struct dma_buf_sync sync = { .flags = DMA_BUF_SYNC_START | DMA_BUF_SYNC_READ };
	size_t bytes = (size_t)buffer->memory_sizes[0];
	unsigned int sum = 0;
	unsigned char *memory = mmap(NULL, bytes, PROT_READ, MAP_SHARED, buffer->fds[0], 0);

	if (memory == MAP_FAILED)
		die("mmap", strerror(errno));
	call(buffer->fds[0], DMA_BUF_IOCTL_SYNC, &sync, "DMA_BUF_IOCTL_SYNC");
	for (unsigned int y = 0; y < buffer->visible_height; y++) {
		const unsigned char *row = memory + buffer->planes[0].offset +
					   (size_t)(buffer->visible_y + y) * buffer->planes[0].stride;

		for (unsigned int x = 0; x < buffer->visible_width; x++) {
			unsigned int word;

			memcpy(&word, row + 4 * (size_t)(buffer->visible_x + x), 4);
			sum ^= word;
			sum = sum << 1 | sum >> 31;
		}
	}
	sync.flags = DMA_BUF_SYNC_END | DMA_BUF_SYNC_READ;
	call(buffer->fds[0], DMA_BUF_IOCTL_SYNC, &sync, "DMA_BUF_IOCTL_SYNC");
	munmap(memory, bytes);
	return sum;
}

int main(int argc, char **argv)
{
	const char *camera_node = argc > 1 ? argv[1] : "/dev/video0";
	const char *card_node = argc > 2 ? argv[2] : "/dev/dri/card0";
	struct v4l2_requestbuffers request = {
		.count = BUFFERS,
		.type = V4L2_BUF_TYPE_VIDEO_CAPTURE,
		.memory = V4L2_MEMORY_DMABUF,
	};
	enum v4l2_buf_type type = V4L2_BUF_TYPE_VIDEO_CAPTURE;
	struct covalent_buffer buffers[BUFFERS];
	struct covalent_plan *plan;
	char job[1024];
	char *explanation;

	snprintf(job, sizeof job,
		 "{\"size\": \"640x480\", \"count\": %d, \"format\": \"XR24\", \"camera\": [\"%s\"],"
		 " \"display\": [\"%s\"], \"cpu\": \"read\"}",
		 BUFFERS, camera_node, card_node);
	if (covalent_plan(job, &plan) != COVALENT_OK)
		die("planning", covalent_last_error());
	explanation = covalent_explain(plan);
	printf("%s\n", explanation);
	covalent_string_free(explanation);
	if (covalent_buffer_count(plan) > BUFFERS)
		die("planning", "the plan needs more buffers than this program has space for");
	if (covalent_allocate(plan, buffers, BUFFERS) != COVALENT_OK)
		die("allocating", covalent_last_error());

	int camera = open(camera_node, O_RDWR | O_CLOEXEC);
	int card = open(card_node, O_RDWR | O_CLOEXEC);

	if (camera == -1 || card == -1)
		die(camera == -1 ? camera_node : card_node, strerror(errno));
	set_format(camera, &buffers[0]);
	call(camera, VIDIOC_REQBUFS, &request, "VIDIOC_REQBUFS");
	for (unsigned int i = 0; i < BUFFERS; i++) {
		import(card, &buffers[i]);
		queue(camera, i, &buffers[i]);
	}
	call(camera, VIDIOC_STREAMON, &type, "VIDIOC_STREAMON");
	for (unsigned int frame = 0; frame < FRAMES; frame++) {
		struct v4l2_buffer filled = {
			.type = V4L2_BUF_TYPE_VIDEO_CAPTURE,
			.memory = V4L2_MEMORY_DMABUF,
		};

		call(camera, VIDIOC_DQBUF, &filled, "VIDIOC_DQBUF");
		if (filled.index >= BUFFERS)
			die("VIDIOC_DQBUF", "the driver returned an index that does not exist");
		if (frame == FRAMES - 1)
			printf("the last frame is %08x in buffer %u\n", checksum(&buffers[filled.index]), filled.index);
		else
			queue(camera, filled.index, &buffers[filled.index]);
	}
	call(camera, VIDIOC_STREAMOFF, &type, "VIDIOC_STREAMOFF");
	covalent_close(buffers, BUFFERS);
	covalent_plan_free(plan);
	printf("%d frames were captured\n", FRAMES);
	return 0;
}
