#include "served.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "test.h"

char served_dir[64], served_socket[96];
pid_t served_pid;

bool answers(void)
{
	char reason[SL_DAEMON_REASON];

	return sl_daemon_call("daemon.info", NULL, NULL, NULL, NULL, reason) == 0;
}

bool start_daemon_again(const char *more)
{
	int log;

	served_pid = fork();
	if (served_pid == 0) {
		log = open("/dev/null", O_WRONLY);
		dup2(log, 1);
		dup2(log, 2);
		execl(SLUICED, SLUICED, "--no-huge", "-m", "64", "--no-shconf", "--no-pci",
			more ? more : "--no-telemetry", "--", "--workers", "1", "--twin", "none",
			(char *)NULL);
		_exit(127);
	}
	for (int i = 0; i < 400; i++) {
		if (answers())
			return true;
		usleep(25000);
	}
	return false;
}

bool start_daemon_with(const char *more)
{
	strcpy(served_dir, "/tmp/sluice-served-XXXXXX");
	if (!mkdtemp(served_dir))
		return false;
	snprintf(served_socket, sizeof(served_socket), "%s/sock", served_dir);
	setenv(SL_WIRE_SOCKET_ENV, served_socket, 1);
	return start_daemon_again(more);
}

bool start_daemon(void)
{
	return start_daemon_with(NULL);
}

int stop_daemon(void)
{
	int status = -1;

	kill(served_pid, SIGTERM);
	waitpid(served_pid, &status, 0);
	if (access(served_socket, F_OK) == 0)
		status = -2;
	rmdir(served_dir);
	return status;
}

int connect_raw(void)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	snprintf(address.sun_path, sizeof(address.sun_path), "%s", served_socket);
	if (fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof(address)) != 0) {
		close(fd);
		return -1;
	}
	return fd;
}

/* A connection that has greeted. */
bool open_wire(struct sl_wire *wire)
{
	int fd = connect_raw();

	sl_wire_init(wire, fd);
	return fd >= 0 && sl_wire_greet(wire) == 0;
}

int bpf(int cmd, union bpf_attr *attr)
{
	return (int)sl_remote_bpf(&sl_space_self, cmd, (uintptr_t)attr, sizeof(*attr));
}

int new_map(const char *name)
{
	union bpf_attr attr = {
		.map_type = BPF_MAP_TYPE_HASH, .key_size = 4, .value_size = 8, .max_entries = 16
	};

	snprintf(attr.map_name, sizeof(attr.map_name), "%s", name);
	return bpf(BPF_MAP_CREATE, &attr);
}

int update(int map, uint32_t key, uint64_t value)
{
	union bpf_attr attr = {
		.map_fd = (uint32_t)map, .key = (uintptr_t)&key, .value = (uintptr_t)&value
	};

	return bpf(BPF_MAP_UPDATE_ELEM, &attr);
}

int lookup(int map, uint32_t key, uint64_t *ret_value)
{
	union bpf_attr attr = {
		.map_fd = (uint32_t)map, .key = (uintptr_t)&key, .value = (uintptr_t)ret_value
	};

	return bpf(BPF_MAP_LOOKUP_ELEM, &attr);
}

int load_insns(enum bpf_prog_type type, const struct bpf_insn *insns, uint32_t count)
{
	union bpf_attr attr = { .prog_type = type,
		.insns = (uintptr_t)insns,
		.insn_cnt = count,
		.license = (uintptr_t)"GPL" };

	return bpf(BPF_PROG_LOAD, &attr);
}

int load_looking(unsigned times)
{
	struct bpf_insn insns[16];

	for (unsigned i = 0; i < times; i++)
		insns[i] = (struct bpf_insn){ .code = BPF_JMP | BPF_CALL,
			.imm = BPF_FUNC_ktime_get_ns };
	insns[times] = (struct bpf_insn){ .code = BPF_ALU64 | BPF_MOV | BPF_K, .imm = 2 };
	insns[times + 1] = (struct bpf_insn){ .code = BPF_JMP | BPF_EXIT };
	return load_insns(BPF_PROG_TYPE_XDP, insns, times + 2);
}

int load(void)
{
	return load_looking(0);
}

void expect_service(void)
{
	int map = new_map("service"), prog = load();
	uint64_t value = 0;

	EXPECT_GE(map, 0);
	EXPECT_GE(prog, 0);
	for (uint32_t i = 0; i < 16; i++) {
		EXPECT_EQ(0, update(map, i, i + 100));
		EXPECT_EQ(0, lookup(map, i, &value));
		EXPECT_EQ(i + 100, value);
	}
	close(map);
	close(prog);
}
