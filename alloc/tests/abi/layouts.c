// Prints the sizes, offsets and ioctl numbers of the kernel's headers for the target that this is compiled for.
//
// It has to be compiled for 64-bit time: without -D_TIME_BITS=64 a 32-bit C library has a 32-bit timeval in v4l2_buffer.
#include <stddef.h>
#include <stdio.h>
#include <sys/time.h>

#include <linux/dma-buf.h>
#include <linux/dma-heap.h>
#include <linux/media.h>
#include <linux/sync_file.h>
#include <linux/udmabuf.h>
#include <linux/v4l2-subdev.h>
#include <linux/videodev2.h>

#define SIZE(type) printf("size %s %zu\n", #type, sizeof(struct type))
#define FIELD(type, member) printf("offset %s.%s %zu\n", #type, #member, offsetof(struct type, member))
#define REQUEST(name) printf("request %s 0x%08lx\n", #name, (unsigned long)(name))

int main(void)
{
	printf("size pointer %zu\n", sizeof(void *));

	SIZE(v4l2_capability);
	FIELD(v4l2_capability, card);
	FIELD(v4l2_capability, bus_info);
	FIELD(v4l2_capability, version);
	FIELD(v4l2_capability, capabilities);
	FIELD(v4l2_capability, device_caps);
	FIELD(v4l2_capability, reserved);

	SIZE(v4l2_fmtdesc);
	FIELD(v4l2_fmtdesc, type);
	FIELD(v4l2_fmtdesc, flags);
	FIELD(v4l2_fmtdesc, description);
	FIELD(v4l2_fmtdesc, pixelformat);
	FIELD(v4l2_fmtdesc, mbus_code);
	FIELD(v4l2_fmtdesc, reserved);

	SIZE(v4l2_pix_format);
	FIELD(v4l2_pix_format, height);
	FIELD(v4l2_pix_format, pixelformat);
	FIELD(v4l2_pix_format, field);
	FIELD(v4l2_pix_format, bytesperline);
	FIELD(v4l2_pix_format, sizeimage);
	FIELD(v4l2_pix_format, colorspace);
	FIELD(v4l2_pix_format, priv);
	FIELD(v4l2_pix_format, flags);
	FIELD(v4l2_pix_format, ycbcr_enc);
	FIELD(v4l2_pix_format, quantization);
	FIELD(v4l2_pix_format, xfer_func);

	SIZE(v4l2_plane_pix_format);
	FIELD(v4l2_plane_pix_format, bytesperline);
	FIELD(v4l2_plane_pix_format, reserved);

	SIZE(v4l2_pix_format_mplane);
	FIELD(v4l2_pix_format_mplane, height);
	FIELD(v4l2_pix_format_mplane, pixelformat);
	FIELD(v4l2_pix_format_mplane, field);
	FIELD(v4l2_pix_format_mplane, colorspace);
	FIELD(v4l2_pix_format_mplane, plane_fmt);
	FIELD(v4l2_pix_format_mplane, num_planes);
	FIELD(v4l2_pix_format_mplane, flags);
	FIELD(v4l2_pix_format_mplane, ycbcr_enc);
	FIELD(v4l2_pix_format_mplane, quantization);
	FIELD(v4l2_pix_format_mplane, xfer_func);
	FIELD(v4l2_pix_format_mplane, reserved);

	SIZE(v4l2_format);
	FIELD(v4l2_format, fmt);

	SIZE(v4l2_requestbuffers);
	FIELD(v4l2_requestbuffers, type);
	FIELD(v4l2_requestbuffers, memory);
	FIELD(v4l2_requestbuffers, capabilities);
	FIELD(v4l2_requestbuffers, flags);
	FIELD(v4l2_requestbuffers, reserved);

	SIZE(v4l2_create_buffers);
	FIELD(v4l2_create_buffers, count);
	FIELD(v4l2_create_buffers, memory);
	FIELD(v4l2_create_buffers, format);
	FIELD(v4l2_create_buffers, capabilities);
	FIELD(v4l2_create_buffers, flags);

	SIZE(v4l2_plane);
	FIELD(v4l2_plane, length);
	FIELD(v4l2_plane, m);
	FIELD(v4l2_plane, data_offset);
	FIELD(v4l2_plane, reserved);

	SIZE(v4l2_buffer);
	FIELD(v4l2_buffer, type);
	FIELD(v4l2_buffer, bytesused);
	FIELD(v4l2_buffer, flags);
	FIELD(v4l2_buffer, field);
	FIELD(v4l2_buffer, timestamp.tv_sec);
	FIELD(v4l2_buffer, timestamp.tv_usec);
	FIELD(v4l2_buffer, timecode);
	FIELD(v4l2_buffer, sequence);
	FIELD(v4l2_buffer, memory);
	FIELD(v4l2_buffer, m);
	FIELD(v4l2_buffer, length);
	FIELD(v4l2_buffer, reserved2);
	FIELD(v4l2_buffer, request_fd);

	SIZE(v4l2_control);
	FIELD(v4l2_control, value);

	SIZE(v4l2_queryctrl);
	FIELD(v4l2_queryctrl, type);
	FIELD(v4l2_queryctrl, name);
	FIELD(v4l2_queryctrl, minimum);
	FIELD(v4l2_queryctrl, maximum);
	FIELD(v4l2_queryctrl, step);
	FIELD(v4l2_queryctrl, default_value);
	FIELD(v4l2_queryctrl, flags);
	FIELD(v4l2_queryctrl, reserved);

	SIZE(v4l2_querymenu);
	FIELD(v4l2_querymenu, index);
	FIELD(v4l2_querymenu, name);
	FIELD(v4l2_querymenu, reserved);

	SIZE(v4l2_exportbuffer);
	FIELD(v4l2_exportbuffer, index);
	FIELD(v4l2_exportbuffer, plane);
	FIELD(v4l2_exportbuffer, flags);
	FIELD(v4l2_exportbuffer, fd);
	FIELD(v4l2_exportbuffer, reserved);

	SIZE(v4l2_rect);
	FIELD(v4l2_rect, top);
	FIELD(v4l2_rect, width);
	FIELD(v4l2_rect, height);

	SIZE(v4l2_selection);
	FIELD(v4l2_selection, target);
	FIELD(v4l2_selection, flags);
	FIELD(v4l2_selection, r);
	FIELD(v4l2_selection, reserved);

	SIZE(v4l2_fract);
	FIELD(v4l2_fract, denominator);

	SIZE(v4l2_frmsizeenum);
	FIELD(v4l2_frmsizeenum, pixel_format);
	FIELD(v4l2_frmsizeenum, type);
	FIELD(v4l2_frmsizeenum, stepwise);
	FIELD(v4l2_frmsizeenum, reserved);

	SIZE(v4l2_frmivalenum);
	FIELD(v4l2_frmivalenum, pixel_format);
	FIELD(v4l2_frmivalenum, width);
	FIELD(v4l2_frmivalenum, height);
	FIELD(v4l2_frmivalenum, type);
	FIELD(v4l2_frmivalenum, stepwise);
	FIELD(v4l2_frmivalenum, reserved);

	SIZE(v4l2_streamparm);
	FIELD(v4l2_streamparm, parm.capture.capability);
	FIELD(v4l2_streamparm, parm.capture.capturemode);
	FIELD(v4l2_streamparm, parm.capture.timeperframe);
	FIELD(v4l2_streamparm, parm.output.timeperframe);

	REQUEST(VIDIOC_QUERYCAP);
	REQUEST(VIDIOC_ENUM_FMT);
	REQUEST(VIDIOC_G_FMT);
	REQUEST(VIDIOC_S_FMT);
	REQUEST(VIDIOC_REQBUFS);
	REQUEST(VIDIOC_QBUF);
	REQUEST(VIDIOC_EXPBUF);
	REQUEST(VIDIOC_DQBUF);
	REQUEST(VIDIOC_STREAMON);
	REQUEST(VIDIOC_STREAMOFF);
	REQUEST(VIDIOC_S_PARM);
	REQUEST(VIDIOC_G_CTRL);
	REQUEST(VIDIOC_S_CTRL);
	REQUEST(VIDIOC_QUERYCTRL);
	REQUEST(VIDIOC_QUERYMENU);
	REQUEST(VIDIOC_TRY_FMT);
	REQUEST(VIDIOC_ENUM_FRAMESIZES);
	REQUEST(VIDIOC_ENUM_FRAMEINTERVALS);
	REQUEST(VIDIOC_CREATE_BUFS);
	REQUEST(VIDIOC_G_SELECTION);
	REQUEST(VIDIOC_S_SELECTION);

	SIZE(dma_heap_allocation_data);
	FIELD(dma_heap_allocation_data, fd);
	FIELD(dma_heap_allocation_data, fd_flags);
	FIELD(dma_heap_allocation_data, heap_flags);
	REQUEST(DMA_HEAP_IOCTL_ALLOC);

	SIZE(udmabuf_create);
	FIELD(udmabuf_create, flags);
	FIELD(udmabuf_create, offset);
	FIELD(udmabuf_create, size);
	REQUEST(UDMABUF_CREATE);

	SIZE(dma_buf_sync);
	SIZE(dma_buf_export_sync_file);
	FIELD(dma_buf_export_sync_file, fd);
	SIZE(dma_buf_import_sync_file);
	FIELD(dma_buf_import_sync_file, fd);
	REQUEST(DMA_BUF_IOCTL_SYNC);
	REQUEST(DMA_BUF_SET_NAME_B);
	REQUEST(DMA_BUF_IOCTL_EXPORT_SYNC_FILE);
	REQUEST(DMA_BUF_IOCTL_IMPORT_SYNC_FILE);

	SIZE(sync_merge_data);
	FIELD(sync_merge_data, fd2);
	FIELD(sync_merge_data, fence);
	FIELD(sync_merge_data, flags);
	SIZE(sync_file_info);
	FIELD(sync_file_info, status);
	FIELD(sync_file_info, flags);
	FIELD(sync_file_info, num_fences);
	FIELD(sync_file_info, sync_fence_info);
	SIZE(sync_fence_info);
	FIELD(sync_fence_info, driver_name);
	FIELD(sync_fence_info, status);
	FIELD(sync_fence_info, flags);
	FIELD(sync_fence_info, timestamp_ns);
	REQUEST(SYNC_IOC_MERGE);
	REQUEST(SYNC_IOC_FILE_INFO);

	SIZE(media_device_info);
	FIELD(media_device_info, model);
	FIELD(media_device_info, serial);
	FIELD(media_device_info, bus_info);
	FIELD(media_device_info, media_version);
	FIELD(media_device_info, hw_revision);
	FIELD(media_device_info, driver_version);
	FIELD(media_device_info, reserved);

	SIZE(media_v2_entity);
	FIELD(media_v2_entity, name);
	FIELD(media_v2_entity, function);
	FIELD(media_v2_entity, flags);
	FIELD(media_v2_entity, reserved);
	SIZE(media_v2_interface);
	FIELD(media_v2_interface, intf_type);
	FIELD(media_v2_interface, flags);
	FIELD(media_v2_interface, reserved);
	FIELD(media_v2_interface, devnode.major);
	FIELD(media_v2_interface, devnode.minor);
	SIZE(media_v2_pad);
	FIELD(media_v2_pad, entity_id);
	FIELD(media_v2_pad, flags);
	FIELD(media_v2_pad, index);
	FIELD(media_v2_pad, reserved);
	SIZE(media_v2_link);
	FIELD(media_v2_link, source_id);
	FIELD(media_v2_link, sink_id);
	FIELD(media_v2_link, flags);
	FIELD(media_v2_link, reserved);
	SIZE(media_v2_topology);
	FIELD(media_v2_topology, num_entities);
	FIELD(media_v2_topology, ptr_entities);
	FIELD(media_v2_topology, ptr_interfaces);
	FIELD(media_v2_topology, ptr_pads);
	FIELD(media_v2_topology, ptr_links);

	SIZE(media_pad_desc);
	FIELD(media_pad_desc, index);
	FIELD(media_pad_desc, flags);
	FIELD(media_pad_desc, reserved);
	SIZE(media_link_desc);
	FIELD(media_link_desc, sink);
	FIELD(media_link_desc, flags);
	FIELD(media_link_desc, reserved);

	SIZE(v4l2_mbus_framefmt);
	FIELD(v4l2_mbus_framefmt, height);
	FIELD(v4l2_mbus_framefmt, code);
	FIELD(v4l2_mbus_framefmt, field);
	FIELD(v4l2_mbus_framefmt, colorspace);
	FIELD(v4l2_mbus_framefmt, ycbcr_enc);
	FIELD(v4l2_mbus_framefmt, quantization);
	FIELD(v4l2_mbus_framefmt, xfer_func);
	SIZE(v4l2_subdev_format);
	FIELD(v4l2_subdev_format, pad);
	FIELD(v4l2_subdev_format, format);
	SIZE(v4l2_subdev_mbus_code_enum);
	FIELD(v4l2_subdev_mbus_code_enum, index);
	FIELD(v4l2_subdev_mbus_code_enum, code);
	FIELD(v4l2_subdev_mbus_code_enum, which);

	REQUEST(MEDIA_IOC_DEVICE_INFO);
	REQUEST(MEDIA_IOC_SETUP_LINK);
	REQUEST(MEDIA_IOC_G_TOPOLOGY);
	REQUEST(VIDIOC_SUBDEV_ENUM_MBUS_CODE);
	REQUEST(VIDIOC_SUBDEV_G_FMT);
	REQUEST(VIDIOC_SUBDEV_S_FMT);
	return 0;
}
