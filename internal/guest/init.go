package guest

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// mounts are the file systems of a Linux user space, in the order of mounting.
var mounts = []struct{ kind, where, options string }{
	{"proc", "/proc", ""},
	{"sysfs", "/sys", ""},
	{"devtmpfs", "/dev", ""},
	{"devpts", "/dev/pts", "ptmxmode=0666,mode=0620"},
	{"tmpfs", "/dev/shm", ""},
	{"tmpfs", "/tmp", "mode=1777"},
	{"tmpfs", "/run", "mode=0755"},
}

// serveAsInit is the first process: it sets the guest up, serves the host, and powers off.
func serveAsInit() {
	defer powerOff() // a panic prints its stack on the console first
	if err := mountAll(); err != nil {
		fmt.Println("guest:", err)
		return
	}
	control, err := openControl()
	if err != nil {
		fmt.Println("guest:", err)
		return
	}
	s := &initServer{dec: json.NewDecoder(control), enc: json.NewEncoder(control)}
	if err := errors.Join(loadModules(), loopbackUp()); err != nil {
		s.send(message{Fault: err.Error()})
		return
	}
	lifetime()
	if err := s.send(message{Ready: true}); err != nil {
		fmt.Println("guest:", err)
		return
	}
	if err := s.serve(); err != nil {
		fmt.Println("guest:", err)
	}
}

// powerOff ends the machine.
func powerOff() {
	if p := recover(); p != nil {
		fmt.Println("guest: panic:", p)
	}
	unix.Sync()
	err := unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF)
	fmt.Println("guest: power off:", err) // the end of the first process is a kernel panic, which ends QEMU as well
}

func mountAll() error {
	for _, m := range mounts {
		if err := os.MkdirAll(m.where, 0o755); err != nil {
			return err
		}
		err := unix.Mount(m.kind, m.where, m.kind, 0, m.options)
		if err != nil && !errors.Is(err, unix.EBUSY) { // EBUSY: the kernel mounted it itself
			return fmt.Errorf("mount %s: %w", m.where, err)
		}
	}
	// Programs expect what a Linux system has in /dev.
	for name, target := range map[string]string{"fd": "/proc/self/fd", "stdin": "fd/0", "stdout": "fd/1", "stderr": "fd/2"} {
		if err := os.Symlink(target, "/dev/"+name); err != nil && !errors.Is(err, os.ErrExist) {
			return err
		}
	}
	return errors.Join(os.MkdirAll("/run/lock", 0o755), os.MkdirAll("/root", 0o700), unix.Sethostname([]byte("guest")))
}

// lifetime has the guest power off when its time is up, whatever hangs.
func lifetime() {
	text, err := os.ReadFile(timeoutPath)
	seconds, perr := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil || perr != nil {
		return // the host has a limit of its own
	}
	time.AfterFunc(time.Duration(seconds)*time.Second, func() {
		fmt.Println("guest: the time is up")
		printKernelLog()
		powerOff()
	})
}

// openControl opens the line to the host as raw octets.
func openControl() (*os.File, error) {
	f, err := os.OpenFile(controlTTY, os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, err
	}
	raw := unix.Termios{Cflag: unix.CS8 | unix.CREAD | unix.CLOCAL | unix.B115200, Ispeed: unix.B115200, Ospeed: unix.B115200}
	raw.Cc[unix.VMIN] = 1
	if err := unix.IoctlSetTermios(int(f.Fd()), unix.TCSETS, &raw); err != nil {
		return nil, fmt.Errorf("%s: %w", controlTTY, err)
	}
	return f, nil
}

func loadModules() error {
	list, err := os.ReadFile(modulesPath)
	if err != nil {
		return err
	}
	for path := range strings.Lines(string(list)) {
		path = strings.TrimSpace(path)
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		err = unix.FinitModule(int(f.Fd()), "", 0)
		f.Close()
		// Several modules may give the same thing, and some only with hardware that is not there; a test notices what it lacks.
		if err != nil && !errors.Is(err, unix.EEXIST) && !errors.Is(err, unix.ENODEV) {
			return fmt.Errorf("module %s: %w", filepath.Base(path), err)
		}
	}
	return nil
}

func loopbackUp() error {
	s, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(s)
	r, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	r.SetUint16(unix.IFF_UP)
	if err := unix.IoctlIfreq(s, unix.SIOCSIFFLAGS, r); err != nil {
		return fmt.Errorf("lo up: %w", err)
	}
	return nil
}

// initServer is the guest's end of the line to the host.
type initServer struct {
	dec *json.Decoder

	mu    sync.Mutex // guards the rest
	enc   *json.Encoder
	child *json.Encoder // to the running program; nil: none runs
	pid   int           // of the running program; 0: none runs
	kill  bool          // that program, at once when it has started
}

func (s *initServer) send(m message) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.enc.Encode(m)
}

// serve does what the host asks for until it says power off.
func (s *initServer) serve() error {
	for {
		var m message
		if err := s.dec.Decode(&m); err != nil {
			return fmt.Errorf("line to the host: %w", err)
		}
		switch {
		case m.PowerOff:
			return s.send(message{Bye: true})
		case m.Run != nil:
			s.mu.Lock()
			s.kill = false
			s.mu.Unlock()
			go func() {
				status := s.run(m.Run)
				if status != 0 {
					printKernelLog()
				}
				s.send(message{Exit: &status})
			}()
		case m.Kill:
			s.mu.Lock()
			s.kill = true
			s.killMarked()
			s.mu.Unlock()
		case m.Answer != nil:
			s.mu.Lock()
			if s.child != nil {
				s.child.Encode(m) // a program that is gone needs no answer
			}
			s.mu.Unlock()
		}
	}
}

// killMarked kills the running program, if it is to be killed. The caller holds mu.
func (s *initServer) killMarked() {
	if s.kill && s.pid != 0 {
		syscall.Kill(-s.pid, syscall.SIGKILL)
	}
}

// run runs a program to its end, and returns its exit status, or -1 with the reason in the output.
func (s *initServer) run(argv []string) int {
	ours, theirs, err := socketPair()
	if err != nil {
		s.send(message{Output: []byte(err.Error() + "\n")})
		return -1
	}
	defer ours.Close()
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Env = []string{"PATH=/bin:/sbin", "HOME=/root", "TMPDIR=/tmp", "TERM=dumb", "GOTRACEBACK=all", insideEnv + "=3"}
	cmd.Dir = "/"
	cmd.ExtraFiles = []*os.File{theirs}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Stdout = output{s}
	cmd.Stderr = cmd.Stdout
	cmd.WaitDelay = grace / 2 // for its last output to go out, and for what it left running with its output open
	err = cmd.Start()
	theirs.Close()
	if err != nil {
		s.send(message{Output: []byte(err.Error() + "\n")})
		return -1
	}
	s.mu.Lock()
	s.child, s.pid = json.NewEncoder(ours), cmd.Process.Pid
	s.killMarked()
	s.mu.Unlock()
	relayed := make(chan struct{})
	go func() {
		defer close(relayed)
		s.relay(ours)
	}()
	err = cmd.Wait()
	s.mu.Lock()
	s.child, s.pid = nil, 0
	s.mu.Unlock()
	ours.Close()
	<-relayed
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit):
		return exit.ExitCode()
	case err != nil && !errors.Is(err, exec.ErrWaitDelay):
		s.send(message{Output: []byte(err.Error() + "\n")})
		return -1
	}
	return 0
}

// relay passes the program's questions to the host.
func (s *initServer) relay(from io.Reader) {
	for dec := json.NewDecoder(from); ; {
		var m message
		if dec.Decode(&m) != nil {
			return
		}
		if m.Ask != nil {
			s.send(message{Ask: m.Ask})
		}
	}
}

func socketPair() (ours, theirs *os.File, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, err
	}
	if err := unix.SetNonblock(fds[0], true); err != nil { // so that Close ends a Read
		return nil, nil, err
	}
	return os.NewFile(uintptr(fds[0]), "control"), os.NewFile(uintptr(fds[1]), "control of the program"), nil
}

// output sends what a program writes to the host.
type output struct{ s *initServer }

func (o output) Write(b []byte) (int, error) {
	if err := o.s.send(message{Output: b}); err != nil {
		return 0, err
	}
	return len(b), nil
}

// printKernelLog puts the end of the kernel's log on the console, where the host looks for it after a failure.
func printKernelLog() {
	const readAll = 3 // SYSLOG_ACTION_READ_ALL, syslog(2)
	buf := make([]byte, 8192)
	if n, err := unix.Klogctl(readAll, buf); err == nil {
		fmt.Printf("guest: end of the kernel's log:\n%s\n", buf[:n])
	}
}
