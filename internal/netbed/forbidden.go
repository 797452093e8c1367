package netbed

import (
	"errors"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// ForbiddenError says that the system does not let this process make namespaces, and how to allow it.
type ForbiddenError struct {
	Reason string // what forbids it, for a person
	Err    error  // what the kernel answered
}

func (e *ForbiddenError) Error() string {
	return "netbed: network namespaces are not available: " + e.Reason + ": " + e.Err.Error()
}

func (e *ForbiddenError) Unwrap() error { return e.Err }

// forbidden turns an error of making namespaces into a ForbiddenError where it is the system's refusal, and gives
// every other error back.
func forbidden(err error) error {
	for _, errno := range []error{unix.EPERM, unix.EACCES, unix.ENOSPC, unix.EUSERS, unix.EINVAL, unix.ENOSYS} {
		if errors.Is(err, errno) {
			return &ForbiddenError{Reason: refusal(err, sysctl), Err: err}
		}
	}
	return err
}

// sysctl reads a kernel parameter; "" where there is none.
func sysctl(path string) string {
	b, err := os.ReadFile("/proc/sys/" + path)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

// refusal finds what forbids the namespaces: the switches that kernels and distributions have for it.
func refusal(err error, sysctl func(string) string) string {
	switch {
	case sysctl("user/max_user_namespaces") == "0":
		return "user namespaces are switched off (user.max_user_namespaces is 0)"
	case sysctl("user/max_net_namespaces") == "0":
		return "network namespaces are switched off (user.max_net_namespaces is 0)"
	case errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EUSERS):
		return "there are too many namespaces already, or too deep (user.max_user_namespaces, user.max_net_namespaces)"
	case errors.Is(err, unix.EINVAL), errors.Is(err, unix.ENOSYS):
		return "the kernel is built without user or network namespaces, or the program runs in a chroot"
	case sysctl("kernel/unprivileged_userns_clone") == "0":
		return "only root may make user namespaces (kernel.unprivileged_userns_clone is 0)"
	case sysctl("kernel/apparmor_restrict_unprivileged_userns") == "1":
		return "AppArmor restricts user namespaces (kernel.apparmor_restrict_unprivileged_userns is 1): set it to 0, " +
			"give the program a profile that allows userns, or run it as root"
	}
	return "the process lacks CAP_SYS_ADMIN and CAP_NET_ADMIN, and a user namespace is refused " +
		"(a container's seccomp filter does that): run as root, or allow user namespaces"
}
