package guest

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// Config says what is in the guest. The zero value is a bare machine with a serial console.
type Config struct {
	// Modules are kernel modules to load, in this order, each after what it depends on. Names may have - or _. What is built
	// into the kernel may be named too. "n_gsm" is built from the kernel's source, for Debian's kernel does not have it.
	Modules []string
	// Devices are QEMU devices, as after its option -device, in this order: "qemu-xhci,id=usb".
	Devices []string
	// Sockets are names of character devices that Devices may use (chardev=name). Each is a Unix socket on the host: see
	// [Guest.Socket].
	Sockets []string
	// Files are put into the guest with their modes: absolute path in the guest to path on the host.
	Files map[string]string
	// Programs are commands of this module, "bipd" for cmd/bipd or a path from the module's root; they are built and put
	// into the guest's /bin.
	Programs []string
	// Debian are packages whose files, and those of what they depend on, are put into the guest. Their scripts do not run.
	Debian []string
	// Memory is the guest's, in MB; 0 means 512.
	Memory int
	// Timeout is how long the guest may live once it is ready; 0 means 3 minutes.
	Timeout time.Duration
}

const (
	defaultMemory  = 512
	defaultTimeout = 3 * time.Minute
)

func (c Config) withDefaults() Config {
	if c.Memory == 0 {
		c.Memory = defaultMemory
	}
	if c.Timeout == 0 {
		c.Timeout = defaultTimeout
	}
	return c
}

func (c Config) check() error {
	var errs []error
	for path := range c.Files {
		if !strings.HasPrefix(path, "/") {
			errs = append(errs, fmt.Errorf("guest: the path %q of a file in the guest is not absolute", path))
		}
	}
	for _, name := range c.Sockets {
		if name == "" || strings.ContainsAny(name, "/, ") {
			errs = append(errs, fmt.Errorf("guest: %q cannot be the name of a socket", name))
		}
	}
	if c.Memory < 0 || c.Timeout < 0 {
		errs = append(errs, errors.New("guest: memory and timeout cannot be negative"))
	}
	return errors.Join(errs...)
}

// MissingError says that this machine lacks something that a guest needs, and how to get it.
type MissingError struct {
	What string
	Err  error // may be nil
}

func (e *MissingError) Error() string {
	text := "no guest here: " + e.What
	if e.Err != nil {
		text += ": " + e.Err.Error()
	}
	return text + " (run: sh scripts/setup guest)"
}

func (e *MissingError) Unwrap() error { return e.Err }
