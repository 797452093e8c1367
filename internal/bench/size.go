package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// hello is the peer of the daemons: a program that prints a line and then waits for the end of its input.
const hello = `package main

import (
	"fmt"
	"io"
	"os"
)

func main() {
	fmt.Println("hello, world is ready")
	io.Copy(io.Discard, os.Stdin)
}
`

func sizeFigures() []figure {
	var list []figure
	for _, daemon := range []string{"bipd", "apd"} {
		list = append(list, figure{
			name: "size." + daemon, unit: "bytes", peer: "hello world, built alike: static and stripped", rounds: 1,
			prepare: func(ctx context.Context) (stand, error) {
				b, err := build(ctx, daemon)
				if err != nil {
					return stand{}, err
				}
				return stand{ours: size(b.path(daemon)), peer: size(b.path("hello")), close: b.remove}, nil
			},
		})
	}
	for _, daemon := range []string{"bipd", "apd"} {
		list = append(list, figure{
			name: "rss." + daemon, unit: "kB", peer: "hello world, waiting", rounds: 3,
			prepare: func(ctx context.Context) (stand, error) {
				b, err := build(ctx, "bipd", "apd")
				if err != nil {
					return stand{}, err
				}
				if err := b.configure(); err != nil {
					b.remove()
					return stand{}, err
				}
				return stand{
					ours:  func(ctx context.Context, _ time.Duration) (float64, error) { return b.daemons(ctx, daemon) },
					peer:  func(ctx context.Context, _ time.Duration) (float64, error) { return b.resident(ctx, "hello") },
					close: b.remove,
				}, nil
			},
		})
	}
	return list
}

// built is a folder with programs as they are shipped.
type built struct{ dir string }

func (b built) path(program string) string { return filepath.Join(b.dir, program) }
func (b built) remove()                    { os.RemoveAll(b.dir) }

// build makes the daemons and the peer in a folder of their own, static and stripped.
func build(ctx context.Context, daemons ...string) (built, error) {
	dir, err := os.MkdirTemp("", "bench")
	if err != nil {
		return built{}, err
	}
	b := built{dir}
	err = os.WriteFile(b.path("hello.go"), []byte(hello), 0o600)
	sources := map[string]string{"hello": b.path("hello.go")}
	for _, d := range daemons {
		sources[d] = "bipd/cmd/" + d
	}
	for program, source := range sources {
		cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags=-s -w", "-o", b.path(program), source)
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, berr := cmd.CombinedOutput(); berr != nil {
			err = errors.Join(err, fmt.Errorf("building %s: %w: %s", program, berr, out))
		}
	}
	if err != nil {
		b.remove()
	}
	return b, err
}

func size(file string) measurement {
	return func(context.Context, time.Duration) (float64, error) {
		st, err := os.Stat(file)
		if err != nil {
			return 0, err
		}
		return float64(st.Size()), nil
	}
}

// configure writes the least that the daemons need to run with one card and the line between them.
func (b built) configure() error {
	files := map[string]string{
		"bipd.toml": fmt.Sprintf("[control]\nsocket = \"\"\n[[card]]\nname = \"card0\"\nreader = \"vpcd:unix:%s\"\n"+
			"[card.line]\npath = %q\nmultiplexer = true\n", b.path("card"), b.path("line")),
		"apd.toml":      fmt.Sprintf("profiles = %q\n[control]\nsocket = \"\"\n[[line]]\nname = \"card0\"\npath = %q\n", b.path("profiles.toml"), b.path("line")),
		"profiles.toml": "[[profile]]\nname = \"bench\"\ndefault = true\n",
	}
	for name, text := range files {
		if err := os.WriteFile(b.path(name), []byte(text), 0o600); err != nil {
			return err
		}
	}
	return nil
}

// daemons runs both, joined by their line, and returns the resident memory of one.
func (b built) daemons(ctx context.Context, which string) (float64, error) {
	var pids = map[string]int{}
	for _, daemon := range []string{"bipd", "apd"} {
		p, err := b.start(ctx, daemon, "--config", b.path(daemon+".toml"))
		if err != nil {
			return 0, err
		}
		defer p.stop()
		pids[daemon] = p.cmd.Process.Pid
	}
	return settledRSS(ctx, pids[which])
}

func (b built) resident(ctx context.Context, program string) (float64, error) {
	p, err := b.start(ctx, program)
	if err != nil {
		return 0, err
	}
	defer p.stop()
	return settledRSS(ctx, p.cmd.Process.Pid)
}

// process is a program that has said that it is ready.
type process struct {
	cmd    *exec.Cmd
	input  io.Closer
	output io.Closer
	read   chan struct{} // closed when its output has ended
}

// start runs a program and waits for a line that says that it is ready.
func (b built) start(ctx context.Context, program string, args ...string) (*process, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, b.path(program), args...)
	cmd.Stdout, cmd.Stderr = w, w
	input, err := cmd.StdinPipe()
	if err == nil {
		err = cmd.Start()
	}
	w.Close()
	if err != nil {
		r.Close()
		return nil, err
	}
	p := &process{cmd, input, r, make(chan struct{})}
	ready := make(chan bool, 1)
	var said bytes.Buffer
	go func() {
		defer close(p.read)
		for s := bufio.NewScanner(r); s.Scan(); {
			if strings.Contains(s.Text(), "is ready") {
				select {
				case ready <- true:
				default:
				}
			}
			if said.Len() < 4096 {
				said.WriteString(s.Text() + "\n")
			}
		}
	}()
	select {
	case <-ready:
		return p, nil
	case <-p.read:
		p.stop()
		return nil, fmt.Errorf("%s ended: %s", program, said.String())
	case <-time.After(30 * time.Second):
		p.stop()
		return nil, fmt.Errorf("%s does not get ready", program)
	}
}

func (p *process) stop() {
	p.cmd.Process.Signal(os.Interrupt)
	p.input.Close()
	timeout := time.AfterFunc(5*time.Second, func() { p.cmd.Process.Kill() })
	defer timeout.Stop()
	<-p.read
	p.output.Close()
	p.cmd.Wait()
}

// settledRSS is VmRSS in kB once it no longer changes for half a second, at most after three.
func settledRSS(ctx context.Context, pid int) (float64, error) {
	last, same := 0.0, 0
	for range 30 {
		select {
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
			return 0, ctx.Err()
		}
		now, err := rss(pid)
		if err != nil {
			return 0, err
		}
		if same++; now != last {
			last, same = now, 0
		}
		if same == 5 {
			break
		}
	}
	return last, nil
}

// rss reads VmRSS in kB.
func rss(pid int) (float64, error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(status)) {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			return strconv.ParseFloat(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 64)
		}
	}
	return 0, fmt.Errorf("process %d has no VmRSS", pid)
}
