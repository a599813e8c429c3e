#pragma once

#include <linux/bpf.h>

struct sl_prog;

/*
 * Binds a program that is being loaded to the device that its attributes name, if they do. The
 * device is one of the ports; -EOPNOTSUPP for one of the kernel's, which Sluice runs no program for,
 * -EINVAL for none and for attributes that do not go with it, offloading among them.
 */
int sl_prog_bind_device(const union bpf_attr *attr, struct sl_prog *prog);
