package netbed

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

const (
	// insideEnv marks the copy of the program that Reexec started.
	insideEnv = "NETBED_INSIDE"
	// usernsEnv set to 1 asks Reexec for a user namespace also where the program has the rights already.
	usernsEnv = "NETBED_USERNS"
)

// Reexec gives the program the rights that a bed needs. With CAP_SYS_ADMIN and CAP_NET_ADMIN, and without
// NETBED_USERNS=1 in the environment, it returns nil at once. Otherwise it starts the program again, with the same
// arguments and environment, as root of a user namespace with network and mount namespaces of its own, passes SIGINT,
// SIGTERM, SIGHUP and SIGQUIT on to it, and exits with its status: in the first process it returns only when the system does not
// allow that, with a *ForbiddenError, and in the second it returns nil. It is called before the program does
// anything that must not be done twice; that is first in main or TestMain, or first in the command that needs it.
func Reexec() error {
	Enter()
	if os.Getenv(insideEnv) != "" {
		return os.Unsetenv(insideEnv)
	}
	if os.Getenv(usernsEnv) != "1" && privileged() {
		return nil
	}
	cmd := inUserNamespace()
	// Before the copy runs: a signal that comes as soon as it has said something must not end this process.
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT)
	runtime.LockOSThread() // Pdeathsig acts when the thread that starts the child ends
	if err := cmd.Start(); err != nil {
		runtime.UnlockOSThread()
		signal.Stop(signals)
		return forbidden(fmt.Errorf("start the program again in a user namespace: %w", err))
	}
	go func() {
		for s := range signals {
			if s == os.Interrupt && foreground() {
				continue // the terminal's: the copy has it already, and a second one may mean more than the first
			}
			_ = cmd.Process.Signal(s) // gone already: then Wait returns
		}
	}()
	os.Exit(exitStatus(cmd.Wait()))
	return nil
}

// privileged says whether the process has CAP_SYS_ADMIN and CAP_NET_ADMIN.
func privileged() bool {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		return false
	}
	const need = 1<<unix.CAP_SYS_ADMIN | 1<<unix.CAP_NET_ADMIN
	return data[0].Effective&need == need
}

// foreground says whether the process belongs to the group that gets the terminal's interrupt key.
func foreground() bool {
	tty, err := unix.Open("/dev/tty", unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return false // no controlling terminal
	}
	defer unix.Close(tty)
	group, err := unix.IoctlGetInt(tty, unix.TIOCGPGRP)
	return err == nil && group == unix.Getpgrp()
}

// inUserNamespace is the own program with its arguments, in new namespaces in which the user is root.
func inUserNamespace() *exec.Cmd {
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Args[0] = os.Args[0]
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	// Without usernsEnv, so that a program that the copy starts does not go one level deeper.
	env := slices.DeleteFunc(os.Environ(), func(s string) bool { return strings.HasPrefix(s, usernsEnv+"=") })
	cmd.Env = append(env, insideEnv+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNET | syscall.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
		Pdeathsig:   syscall.SIGKILL,
	}
	return cmd
}

// exitStatus gives the status to exit with after the copy ended: its own, or 128 and the signal as a shell has it.
func exitStatus(err error) int {
	if err == nil {
		return 0
	}
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		fmt.Fprintln(os.Stderr, "netbed:", err)
		return 1
	}
	if ws, ok := exit.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		return 128 + int(ws.Signal())
	}
	return exit.ExitCode()
}
