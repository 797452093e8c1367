package guest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// qemuProgram emulates the guest. It is never asked to use the host's virtualisation: a /dev/kvm that opens proves nothing.
const qemuProgram = "qemu-system-x86_64"

// qemu is a running emulator.
type qemu struct {
	dir     string // with the sockets and the console's output; removed at the end
	process *os.Process
	done    chan struct{} // closed when it has ended
	err     error         // how, once done is closed
	said    string        // what QEMU itself printed, once done is closed

	control net.Conn // the guest's second serial line
	monitor net.Conn // QMP
}

// socketLimit is the longest path of a Unix socket (sun_path, unix(7), less its final zero octet).
const socketLimit = 107

func (q *qemu) socket(name string) string { return filepath.Join(q.dir, name+".sock") }

func (q *qemu) consolePath() string { return filepath.Join(q.dir, "console.log") }

// startQEMU starts the emulator and waits until it has connected to the host. The emulator ends with this process.
func startQEMU(ctx context.Context, vmlinux, initrd, dir string, c Config) (*qemu, error) {
	q := &qemu{dir: dir, done: make(chan struct{})}
	for _, name := range append([]string{"control", "monitor"}, c.Sockets...) {
		if path := q.socket(name); len(path) > socketLimit {
			return nil, fmt.Errorf("the path of the socket %s is longer than %d octets; set TMPDIR to a shorter one", path, socketLimit)
		}
	}
	// We listen and QEMU connects, so nothing that the guest writes at once is lost.
	listeners := make([]*net.UnixListener, 2)
	for i, name := range []string{"control", "monitor"} {
		l, err := net.ListenUnix("unix", &net.UnixAddr{Name: q.socket(name), Net: "unix"})
		if err != nil {
			return nil, err
		}
		defer l.Close()
		listeners[i] = l
	}
	if err := q.run(q.args(vmlinux, initrd, c)); err != nil {
		return nil, err
	}
	for i, to := range []*net.Conn{&q.control, &q.monitor} {
		conn, err := q.accept(ctx, listeners[i])
		if err != nil {
			q.stop()
			return nil, err
		}
		*to = conn
	}
	return q, nil
}

func (q *qemu) args(vmlinux, initrd string, c Config) []string {
	args := []string{
		"-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
		"-accel", "tcg,thread=multi", "-machine", "pc,hpet=off", "-cpu", "max", "-m", fmt.Sprint(c.Memory),
		"-kernel", vmlinux, "-initrd", initrd,
		"-append", "console=ttyS0 quiet panic=-1 mitigations=off nokaslr audit=0",
		"-serial", "file:" + q.consolePath(),
		"-chardev", "socket,id=guest-control,path=" + q.socket("control"), "-serial", "chardev:guest-control",
		"-qmp", "unix:" + q.socket("monitor"),
	}
	for _, name := range c.Sockets {
		args = append(args, "-chardev", fmt.Sprintf("socket,id=%s,path=%s,server=on,wait=off", name, q.socket(name)))
	}
	for _, device := range c.Devices {
		args = append(args, "-device", device)
	}
	return args
}

// run starts QEMU, which is killed when this process dies.
func (q *qemu) run(args []string) error {
	var said strings.Builder
	cmd := exec.Command(qemuProgram, args...)
	cmd.Stdout, cmd.Stderr = &said, &said
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	started := make(chan error)
	go func() {
		// The signal is sent at the death of the thread that started the process, so that one must live as long.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			q.err = cmd.Wait()
			q.said = strings.TrimSpace(said.String())
			close(q.done)
		}
	}()
	if err := <-started; err != nil {
		return err
	}
	q.process = cmd.Process
	return nil
}

func (q *qemu) accept(ctx context.Context, l *net.UnixListener) (net.Conn, error) {
	for {
		l.SetDeadline(time.Now().Add(100 * time.Millisecond))
		conn, err := l.Accept()
		switch {
		case err == nil:
			return conn, nil
		case !errors.Is(err, os.ErrDeadlineExceeded):
			return nil, err
		case ctx.Err() != nil:
			return nil, fmt.Errorf("QEMU does not connect: %w", ctx.Err())
		}
		select {
		case <-q.done:
			return nil, fmt.Errorf("QEMU ended: %v: %s", q.err, q.said)
		default:
		}
	}
}

// stop kills QEMU if it still runs, and waits for its end.
func (q *qemu) stop() {
	q.process.Kill() // fails if it has ended
	<-q.done
	for _, c := range []net.Conn{q.control, q.monitor} {
		if c != nil {
			c.Close()
		}
	}
}

// tail is the end of what the guest wrote on its console.
func (q *qemu) tail(lines int) string {
	text, err := os.ReadFile(q.consolePath())
	if err != nil {
		return err.Error()
	}
	all := strings.Split(strings.TrimSpace(strings.ReplaceAll(string(text), "\r", "")), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}
