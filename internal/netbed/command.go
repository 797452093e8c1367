package netbed

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// enterName is argument 0 of the own program when it is started to enter a namespace and become another program.
// Arguments 1 to 3 are the namespace's path, the program's path and the program's argument 0.
const enterName = "netbed-enter"

// entered says that the program has called Enter, so that Command may start it as a way into a namespace.
var entered atomic.Bool

// Enter is called first of all in main or TestMain by a program that uses Host.Command. In the copy of the program
// that Command starts it enters the host's namespace, becomes the command and does not return; elsewhere it does
// nothing. Reexec calls it too.
func Enter() {
	entered.Store(true)
	if len(os.Args) < 4 || os.Args[0] != enterName {
		return
	}
	runtime.LockOSThread()
	err := enterAndExec(os.Args[1], os.Args[2], os.Args[3:])
	fmt.Fprintf(os.Stderr, "netbed: start %s in its namespace: %v\n", os.Args[2], err)
	os.Exit(127)
}

func enterAndExec(ns, path string, argv []string) error {
	fd, err := unix.Open(ns, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open %s: %w", ns, err)
	}
	if err := unix.Setns(fd, unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("enter: %w", err)
	}
	// execve makes this thread, and so its namespace, the new program's only one.
	return syscall.Exec(path, argv, os.Environ())
}

// Command is a command that starts on the host. It is an ordinary exec.Cmd (arguments may be appended, pipes taken),
// with two additions: it is the leader of its own process group, and when ctx or the bed ends the whole group is
// killed. The caller calls Start and Wait, or Run. A program that is not found, or a missing call of Enter at the
// start of the own program, is the error of Start.
func (h *Host) Command(ctx context.Context, name string, args ...string) *exec.Cmd {
	ctx, cancel := context.WithCancel(ctx)
	context.AfterFunc(h.bed.ctx, cancel)
	cmd := exec.CommandContext(ctx, "/proc/self/exe")
	path, err := exec.LookPath(name)
	if !entered.Load() {
		err = errors.Join(err, errors.New("netbed: this program has not called Enter"))
	}
	if cmd.Err == nil {
		cmd.Err = err
	}
	cmd.Args = append([]string{enterName, h.path(), path, name}, args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error {
		if err := syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
			return err
		}
		return nil
	}
	cmd.WaitDelay = 10 * time.Second // for pipes that a process outside the group still holds
	return cmd
}

// path is where another process of the same user finds the namespace while the bed is open.
func (h *Host) path() string { return fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), h.ns.Fd()) }

// killTime is how long what was killed may take to end, on a machine under any load.
const killTime = 30 * time.Second

// killRest kills every process that is in one of the bed's namespaces, and waits until none is left, for killTime at most.
func (b *Bed) killRest() error {
	spaces := make(map[inode]string)
	for _, h := range b.hosts {
		id, err := inodeOf(func(st *unix.Stat_t) error { return unix.Fstat(int(h.ns.Fd()), st) })
		if err != nil {
			return fmt.Errorf("netbed: host %s: %w", h.name, err)
		}
		spaces[id] = h.name
	}
	var left []string
	for deadline := time.Now().Add(killTime); ; time.Sleep(5 * time.Millisecond) {
		left = left[:0]
		for pid, host := range processesIn(spaces) {
			left = append(left, fmt.Sprintf("%d on %s", pid, host))
			if err := unix.Kill(pid, unix.SIGKILL); err != nil && !errors.Is(err, unix.ESRCH) {
				return fmt.Errorf("netbed: kill process %d on %s: %w", pid, host, err)
			}
		}
		if len(left) == 0 {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("netbed: processes still run: %v", left)
		}
	}
}

// processesIn finds the processes other than the own one that are in the namespaces. A zombie is in none.
func processesIn(spaces map[inode]string) map[int]string {
	found := make(map[int]string)
	entries, _ := os.ReadDir("/proc") // what cannot be read is not ours
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		id, err := inodeOf(func(st *unix.Stat_t) error { return unix.Stat(fmt.Sprintf("/proc/%d/ns/net", pid), st) })
		if err != nil {
			continue
		}
		if host, ok := spaces[id]; ok {
			found[pid] = host
		}
	}
	return found
}
