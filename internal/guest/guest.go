package guest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// RequireEnv is the environment variable that, set to 1, turns a skip for want of a guest into a failure.
const RequireEnv = "REQUIRE_GUEST"

const (
	preparation = 15 * time.Minute // the longest time for downloads and building, and for other guests to end
	bootLimit   = 3 * time.Minute  // from QEMU's start to a guest that is ready, on a busy machine
	grace       = 30 * time.Second // for a program to be killed; only then does the guest end by itself
	farewell    = time.Minute      // for power off
	obituary    = 10 * time.Second // for QEMU to end whose line has ended
	tailLines   = 60               // of the console in an error
)

// Guest is a running guest.
type Guest struct {
	cfg      Config
	kernel   *kernel
	qemu     *qemu
	qmp      *QMP
	release  func() // of the slot
	deadline time.Time
	took     string // how long the steps of booting took

	run      sync.Mutex // one program at a time
	enc      *json.Encoder
	messages chan message // closed at the end of the line

	mu       sync.Mutex
	handlers map[string]func(argument string) (string, error)

	closing sync.Once
}

// Start boots a guest that ends with the test. Where the machine lacks what a guest needs the test is skipped with the
// reason, and with REQUIRE_GUEST=1 it fails. If the test fails, the end of the guest's console is logged.
func Start(t TB, c Config) *Guest {
	t.Helper()
	ctx, stop := context.WithTimeout(context.Background(), preparation)
	defer stop()
	g, err := Boot(ctx, c)
	var missing *MissingError
	if errors.As(err, &missing) && os.Getenv(RequireEnv) != "1" {
		t.Skipf("%v", err)
	}
	if err != nil {
		t.Fatalf("%v", err)
	}
	t.Logf("guest with Linux %s (package version %s): %s", g.kernel.release, g.kernel.version, g.took)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("console of the guest:\n%s", g.Console())
		}
		if err := g.Close(); err != nil {
			t.Errorf("%v", err)
		}
	})
	return g
}

// Boot is Start for a program that is no test. That program must call [InitIfFirst]. The context is for the boot alone.
// A [MissingError] says what the machine lacks.
func Boot(ctx context.Context, c Config) (g *Guest, err error) {
	c = c.withDefaults()
	if err := c.check(); err != nil {
		return nil, err
	}
	for _, program := range []string{qemuProgram, "apt-get", "apt-cache", "dpkg-deb"} {
		if _, err := exec.LookPath(program); err != nil {
			return nil, &MissingError{"the program " + program + " is not there", nil}
		}
	}
	cache, err := openCache()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "guest")
	if err != nil {
		return nil, err
	}
	begin := time.Now()
	g = &Guest{cfg: c, handlers: make(map[string]func(string) (string, error)), messages: make(chan message), release: func() {}}
	defer func() {
		if err != nil {
			err = g.abandon(dir, err)
			g = nil
		}
	}()
	if g.kernel, err = cache.kernel(ctx); err != nil {
		return g, err
	}
	initrd := filepath.Join(dir, "initrd")
	if err := cache.writeInitrd(ctx, g.kernel, c, initrd); err != nil {
		return g, err
	}
	ready := time.Now()
	if g.release, err = cache.slot(ctx); err != nil {
		g.release = func() {}
		return g, err
	}
	free := time.Now()
	ctx, stop := context.WithTimeout(ctx, bootLimit)
	defer stop()
	if g.qemu, err = startQEMU(ctx, g.kernel.vmlinux, initrd, dir, c); err != nil {
		return g, err
	}
	g.enc = json.NewEncoder(g.qemu.control)
	go g.receive()
	if g.qmp, err = newQMP(ctx, g.qemu.monitor); err != nil {
		return g, err
	}
	err = g.awaitReady(ctx)
	os.Remove(initrd) // large, and read by now; the rest goes at Close
	g.deadline = time.Now().Add(c.Timeout)
	g.took = fmt.Sprintf("prepared in %.1fs, waited %.1fs for other guests, booted in %.1fs",
		ready.Sub(begin).Seconds(), free.Sub(ready).Seconds(), time.Since(free).Seconds())
	return g, err
}

// abandon cleans up after a boot that failed, and adds to the error what the console says.
func (g *Guest) abandon(dir string, err error) error {
	if g.qemu != nil {
		err = g.failure(err)
		g.qemu.stop()
		for range g.messages {
		}
	}
	g.release()
	return errors.Join(err, os.RemoveAll(dir))
}

// receive reads what the guest says until the line ends.
func (g *Guest) receive() {
	defer close(g.messages)
	for dec := json.NewDecoder(g.qemu.control); ; {
		var m message
		if dec.Decode(&m) != nil {
			return
		}
		g.messages <- m
	}
}

// next is the guest's next message. Its end is an error.
func (g *Guest) next(ctx context.Context) (message, error) {
	select {
	case m, ok := <-g.messages:
		if !ok {
			return message{}, errors.New("the guest ended before it said so")
		}
		return m, nil
	case <-ctx.Done():
		return message{}, fmt.Errorf("waiting for the guest: %w", ctx.Err())
	}
}

func (g *Guest) awaitReady(ctx context.Context) error {
	m, err := g.next(ctx)
	switch {
	case err != nil:
		return err
	case m.Fault != "":
		return errors.New("in the guest: " + m.Fault)
	case !m.Ready:
		return errors.New("the guest speaks before it is ready")
	}
	return nil
}

// failure adds what QEMU said and the end of the console to an error.
func (g *Guest) failure(err error) error {
	select {
	case <-g.qemu.done:
		err = fmt.Errorf("%w\nQEMU ended: %v: %s", err, g.qemu.err, g.qemu.said)
	case <-time.After(obituary): // a line that ends is often the first sign of QEMU's end
	}
	return fmt.Errorf("%w\nend of the guest's console:\n%s", err, g.qemu.tail(tailLines))
}

// Console is the end of what the guest wrote on its console, kernel messages among it.
func (g *Guest) Console() string { return g.qemu.tail(tailLines) }

// Socket is the path of the Unix socket with that name of [Config.Sockets]. One connection at a time is served.
func (g *Guest) Socket(name string) string { return g.qemu.socket(name) }

// QMP is QEMU's control, for plugging and unplugging.
func (g *Guest) QMP() *QMP { return g.qmp }

// Handle sets what the host does when a program in the guest asks for it by [Ask]. The program waits meanwhile.
func (g *Guest) Handle(name string, do func(argument string) (string, error)) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.handlers[name] = do
}

// Run runs a test of this very binary in the guest, and fails t with its output if it fails, is skipped, or does not exist.
// The pattern is that of go test -run, each part of which must fit as a whole: "TestInsideA|TestInsideB/sub". The arguments
// are what [Args] returns there.
func (g *Guest) Run(t TB, pattern string, args ...string) {
	t.Helper()
	left := time.Until(g.deadline)
	argv := append([]string{initPath, "-test.run=" + anchored(pattern), "-test.v", "-test.count=1", fmt.Sprintf("-test.timeout=%v", left)}, args...)
	var out bytes.Buffer
	status, err := g.Exec(context.Background(), &out, argv...)
	if err != nil {
		t.Fatalf("%s in the guest: %v\nits output:\n%s", pattern, err, out.String())
	}
	if why := verdict(status, out.String()); why != "" {
		t.Fatalf("%s in the guest %s:\n%s", pattern, why, out.String())
	}
	t.Logf("%s in the guest:\n%s", pattern, out.String())
}

// anchored is a pattern whose parts must fit as a whole.
func anchored(pattern string) string {
	parts := strings.Split(pattern, "/")
	for i, p := range parts {
		parts[i] = "^(" + p + ")$"
	}
	return strings.Join(parts, "/")
}

// verdict says what is wrong with a run of tests, or "". In a guest nothing is missing, so a skip is wrong as well.
func verdict(status int, output string) string {
	switch {
	case status != 0:
		return fmt.Sprintf("ended with status %d", status)
	case strings.Contains(output, "testing: warning: no tests to run"):
		return "does not exist"
	case strings.Contains(output, "--- SKIP: "):
		return "was skipped"
	case !strings.Contains(output, "--- PASS: "):
		return "did not say that it passed"
	}
	return ""
}

// Exec runs a program in the guest, writes what it prints to out, and returns its exit status: -1 where it was killed or
// could not be started. When the context or the guest's time ends the program is killed, and that is the error. The program
// "/init" is this very binary.
func (g *Guest) Exec(ctx context.Context, out io.Writer, argv ...string) (status int, err error) {
	g.run.Lock()
	defer g.run.Unlock()
	ctx, stop := context.WithDeadline(ctx, g.deadline)
	defer stop()
	if err := g.enc.Encode(message{Run: argv}); err != nil {
		return -1, g.failure(err)
	}
	status, err = g.follow(ctx, out)
	if err == nil || ctx.Err() == nil {
		return status, err
	}
	killed, stop := context.WithTimeout(context.WithoutCancel(ctx), grace)
	defer stop()
	if err := g.enc.Encode(message{Kill: true}); err != nil {
		return -1, g.failure(err)
	}
	if status, err = g.follow(killed, out); err != nil {
		return -1, err
	}
	return status, fmt.Errorf("%s in the guest is killed: %w", argv[0], ctx.Err())
}

// follow serves the running program until it has ended.
func (g *Guest) follow(ctx context.Context, out io.Writer) (status int, err error) {
	for {
		m, err := g.next(ctx)
		if err != nil {
			if ctx.Err() == nil {
				err = g.failure(err)
			}
			return -1, err
		}
		switch {
		case m.Output != nil:
			if _, err := out.Write(m.Output); err != nil {
				return -1, err
			}
		case m.Ask != nil:
			if err := g.enc.Encode(message{Answer: g.answer(*m.Ask)}); err != nil {
				return -1, g.failure(err)
			}
		case m.Exit != nil:
			return *m.Exit, nil
		}
	}
}

func (g *Guest) answer(q question) *answer {
	g.mu.Lock()
	do := g.handlers[q.Name]
	g.mu.Unlock()
	if do == nil {
		return &answer{Error: fmt.Sprintf("the host has nothing set for %q", q.Name)}
	}
	text, err := do(q.Argument)
	if err != nil {
		return &answer{Text: text, Error: err.Error()}
	}
	return &answer{Text: text}
}

// Close has the guest power off, or ends QEMU, and removes what the guest was made of. A guest that does not say goodbye is
// an error with the end of its console. Only the first call does anything.
func (g *Guest) Close() (err error) {
	g.closing.Do(func() {
		if err = g.powerOff(); err != nil {
			err = g.failure(err)
		}
		g.qemu.stop()
		for range g.messages {
		}
		g.release()
		err = errors.Join(err, os.RemoveAll(g.qemu.dir))
	})
	return err
}

func (g *Guest) powerOff() error {
	g.run.Lock()
	defer g.run.Unlock()
	ctx, stop := context.WithTimeout(context.Background(), farewell)
	defer stop()
	if err := g.enc.Encode(message{PowerOff: true}); err != nil {
		return err
	}
	for {
		m, err := g.next(ctx)
		if err != nil {
			return err
		}
		if m.Bye {
			break
		}
	}
	select {
	case <-g.qemu.done:
		return nil
	case <-ctx.Done():
		return errors.New("the guest does not power off")
	}
}
