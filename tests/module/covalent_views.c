// SPDX-License-Identifier: GPL-2.0
/*
 * A dma-buf exporter for tests. The CPU's view and the device's view of a buffer
 * are separate memory, which is copied only in begin_cpu_access and
 * end_cpu_access.
 */
#include <linux/dma-buf.h>
#include <linux/dma-mapping.h>
#include <linux/fs.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/scatterlist.h>
#include <linux/slab.h>
#include <linux/uaccess.h>
#include <linux/vmalloc.h>

#define VIEWS_SIZE_MAX (64UL << 20)

struct views_export {
	__u64 size;
	__s32 fd;
	__u32 pad;
};

#define VIEWS_EXPORT _IOWR('V', 0, struct views_export)

/* A buffer. The open file and the dma-buf each have a reference. */
struct views {
	struct kref kref;
	struct mutex lock;
	size_t size;
	void *cpu;
	void *device;
};

static void views_free(struct kref *kref)
{
	struct views *views = container_of(kref, struct views, kref);

	vfree(views->cpu);
	vfree(views->device);
	kfree(views);
}

static struct sg_table *views_map(struct dma_buf_attachment *attachment,
				  enum dma_data_direction direction)
{
	struct views *views = attachment->dmabuf->priv;
	unsigned int count = views->size >> PAGE_SHIFT, i;
	struct sg_table *table;
	struct page **pages;
	int ret = -ENOMEM;

	table = kzalloc(sizeof(*table), GFP_KERNEL);
	pages = kvcalloc(count, sizeof(*pages), GFP_KERNEL);
	if (!table || !pages)
		goto fail;
	for (i = 0; i < count; i++)
		pages[i] = vmalloc_to_page(views->device + i * PAGE_SIZE);
	ret = sg_alloc_table_from_pages(table, pages, count, 0, views->size,
					GFP_KERNEL);
	if (ret)
		goto fail;
	ret = dma_map_sgtable(attachment->dev, table, direction, 0);
	if (ret) {
		sg_free_table(table);
		goto fail;
	}
	kvfree(pages);
	return table;
fail:
	kvfree(pages);
	kfree(table);
	return ERR_PTR(ret);
}

static void views_unmap(struct dma_buf_attachment *attachment,
			struct sg_table *table,
			enum dma_data_direction direction)
{
	dma_unmap_sgtable(attachment->dev, table, direction, 0);
	sg_free_table(table);
	kfree(table);
}

static int views_begin(struct dma_buf *dmabuf, enum dma_data_direction direction)
{
	struct views *views = dmabuf->priv;

	if (direction == DMA_TO_DEVICE)
		return 0;
	mutex_lock(&views->lock);
	memcpy(views->cpu, views->device, views->size);
	mutex_unlock(&views->lock);
	return 0;
}

static int views_end(struct dma_buf *dmabuf, enum dma_data_direction direction)
{
	struct views *views = dmabuf->priv;

	if (direction == DMA_FROM_DEVICE)
		return 0;
	mutex_lock(&views->lock);
	memcpy(views->device, views->cpu, views->size);
	mutex_unlock(&views->lock);
	return 0;
}

static int views_mmap(struct dma_buf *dmabuf, struct vm_area_struct *area)
{
	struct views *views = dmabuf->priv;

	return remap_vmalloc_range(area, views->cpu, area->vm_pgoff);
}

static void views_release(struct dma_buf *dmabuf)
{
	struct views *views = dmabuf->priv;

	kref_put(&views->kref, views_free);
}

static const struct dma_buf_ops views_dma_buf_ops = {
	.map_dma_buf = views_map,
	.unmap_dma_buf = views_unmap,
	.begin_cpu_access = views_begin,
	.end_cpu_access = views_end,
	.mmap = views_mmap,
	.release = views_release,
};

static long views_ioctl(struct file *file, unsigned int command,
			unsigned long argument)
{
	void __user *at = (void __user *)argument;
	DEFINE_DMA_BUF_EXPORT_INFO(info);
	struct views_export export;
	struct dma_buf *dmabuf;
	struct views *views;
	int fd, ret = -ENOMEM;

	if (command != VIEWS_EXPORT)
		return -ENOTTY;
	if (copy_from_user(&export, at, sizeof(export)))
		return -EFAULT;
	if (!export.size || export.size > VIEWS_SIZE_MAX || export.pad)
		return -EINVAL;
	if (file->private_data)
		return -EBUSY;

	views = kzalloc(sizeof(*views), GFP_KERNEL);
	if (!views)
		return -ENOMEM;
	kref_init(&views->kref);
	mutex_init(&views->lock);
	views->size = PAGE_ALIGN(export.size);
	views->cpu = vmalloc_user(views->size);
	views->device = vzalloc(views->size);
	if (!views->cpu || !views->device)
		goto fail;

	info.ops = &views_dma_buf_ops;
	info.size = views->size;
	info.flags = O_RDWR | O_CLOEXEC;
	info.priv = views;
	dmabuf = dma_buf_export(&info);
	if (IS_ERR(dmabuf)) {
		ret = PTR_ERR(dmabuf);
		goto fail;
	}
	/* The dma-buf and the open file have one reference each. */
	kref_get(&views->kref);
	fd = get_unused_fd_flags(O_CLOEXEC);
	if (fd < 0) {
		ret = fd;
		goto unexport;
	}
	export.fd = fd;
	if (copy_to_user(at, &export, sizeof(export))) {
		put_unused_fd(fd);
		ret = -EFAULT;
		goto unexport;
	}
	if (cmpxchg(&file->private_data, NULL, views)) {
		put_unused_fd(fd);
		ret = -EBUSY;
		goto unexport;
	}
	fd_install(fd, dmabuf->file);
	return 0;
unexport:
	dma_buf_put(dmabuf);
fail:
	kref_put(&views->kref, views_free);
	return ret;
}

static ssize_t views_read(struct file *file, char __user *to, size_t count,
			  loff_t *offset)
{
	struct views *views = READ_ONCE(file->private_data);
	ssize_t ret;

	if (!views)
		return -ENXIO;
	mutex_lock(&views->lock);
	ret = simple_read_from_buffer(to, count, offset, views->device,
				      views->size);
	mutex_unlock(&views->lock);
	return ret;
}

static ssize_t views_write(struct file *file, const char __user *from,
			   size_t count, loff_t *offset)
{
	struct views *views = READ_ONCE(file->private_data);
	ssize_t ret;

	if (!views)
		return -ENXIO;
	mutex_lock(&views->lock);
	ret = simple_write_to_buffer(views->device, views->size, offset, from,
				     count);
	mutex_unlock(&views->lock);
	return ret;
}

/* misc_open() sets private_data to the miscdevice. */
static int views_open(struct inode *inode, struct file *file)
{
	file->private_data = NULL;
	return 0;
}

static int views_close(struct inode *inode, struct file *file)
{
	struct views *views = file->private_data;

	if (views)
		kref_put(&views->kref, views_free);
	return 0;
}

static const struct file_operations views_file_ops = {
	.owner = THIS_MODULE,
	.open = views_open,
	.release = views_close,
	.read = views_read,
	.write = views_write,
	.unlocked_ioctl = views_ioctl,
	.llseek = default_llseek,
};

static struct miscdevice views_device = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "covalent_views",
	.fops = &views_file_ops,
	.mode = 0600,
};

module_misc_device(views_device);
MODULE_LICENSE("GPL");
MODULE_IMPORT_NS("DMA_BUF");
MODULE_DESCRIPTION("dma-bufs with separate memory for the CPU and the device");
