package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"bipd/internal/control"
	"bipd/internal/netbed"
)

// process is a program that runs on a host, with its output in a file.
type process struct {
	cmd  *exec.Cmd
	log  string
	done chan struct{} // closed when it has ended
	err  error         // how; to be read after done
}

func startProcess(ctx context.Context, host *netbed.Host, dir, name string, args ...string) (*process, error) {
	p := &process{log: filepath.Join(dir, filepath.Base(name)+".log"), done: make(chan struct{})}
	out, err := os.Create(p.log)
	if err != nil {
		return nil, err
	}
	defer out.Close()
	p.cmd = host.Command(ctx, name, args...)
	p.cmd.Stdout, p.cmd.Stderr = out, out
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.done)
	}()
	return p, nil
}

// Bounds of a start and of an end.
const (
	startTime = 10 * time.Second
	endTime   = 5 * time.Second
)

// until waits until ready gives no error, or the process has ended.
func (p *process) until(ctx context.Context, ready func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, startTime)
	defer cancel()
	for {
		err := ready(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-p.done:
			return fmt.Errorf("%s ended: %w\n%s", p.cmd.Args[0], p.err, p.tail())
		case <-ctx.Done():
			return fmt.Errorf("%s is not ready: %w\n%s", p.cmd.Args[0], err, p.tail())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// close has the process end, if need be by force.
func (p *process) close() {
	p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.done:
	case <-time.After(endTime):
		p.cmd.Process.Kill()
		<-p.done
	}
}

// tail is the end of the process's output.
func (p *process) tail() string {
	b, err := os.ReadFile(p.log)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(string(bytes.TrimSpace(b)), "\n")
	return strings.Join(lines[max(0, len(lines)-10):], "\n")
}

// terminalProcess is bipd and apd, each on its host.
type terminalProcess struct {
	dir    string
	reader string // the socket into which the card dials
	cp, ap *process
}

// The configurations are what an operator would write, with other paths.
const (
	bipdConfig = `[log]
level = "debug"
[control]
socket = "DIR/bipd.sock"
[[card]]
name = "card0"
reader = "vpcd:unix:DIR/card0.sock"
[card.line]
path = "DIR/line0"
multiplexer = true
keep_alive = "5s"
`
	apdConfig = `profiles = "DIR/profiles.toml"
[log]
level = "debug"
[control]
socket = "DIR/apd.sock"
[[line]]
name = "card0"
path = "DIR/line0"
keep_alive = "5s"
`
	apdProfiles = `[[profile]]
name = "internet"
default = true
pdp_type = "IP"
user = "demo"
password = "not to be seen in any log"
dns = ["203.0.113.80"]
mtu = 1500
`
)

func startTerminal(ctx context.Context, bin, dir string, n *network) (*terminalProcess, error) {
	t := &terminalProcess{dir: dir, reader: filepath.Join(dir, "card0.sock")}
	for name, text := range map[string]string{"bipd.toml": bipdConfig, "apd.toml": apdConfig, "profiles.toml": apdProfiles} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(strings.ReplaceAll(text, "DIR", dir)), 0o600); err != nil {
			return nil, err
		}
	}
	var err error
	if t.cp, err = startProcess(ctx, n.cp, dir, filepath.Join(bin, "bipd"), "--config", filepath.Join(dir, "bipd.toml")); err != nil {
		return nil, err
	}
	if t.ap, err = startProcess(ctx, n.ap, dir, filepath.Join(bin, "apd"), "--config", filepath.Join(dir, "apd.toml")); err != nil {
		t.cp.close()
		return nil, err
	}
	if err := t.ready(ctx); err != nil {
		t.close()
		return nil, err
	}
	return t, nil
}

// sockets are the control sockets of both daemons.
func (t *terminalProcess) sockets() []string {
	return []string{filepath.Join(t.dir, "bipd.sock"), filepath.Join(t.dir, "apd.sock")}
}

// ready waits until both daemons answer and the line between them carries the multiplexer.
func (t *terminalProcess) ready(ctx context.Context) error {
	apd := control.NewClient(t.sockets()[1])
	defer apd.Close()
	if err := t.ap.until(ctx, func(ctx context.Context) error { _, err := apd.Cards(ctx); return err }); err != nil {
		return err
	}
	bipd := control.NewClient(t.sockets()[0])
	defer bipd.Close()
	return t.cp.until(ctx, func(ctx context.Context) error {
		cards, err := bipd.Cards(ctx)
		if err == nil && cards[0].Line != "multiplexed" {
			err = errors.New("the line to the AP is " + cards[0].Line)
		}
		return err
	})
}

func (t *terminalProcess) close() {
	t.cp.close()
	t.ap.close()
}

// lastWords is the end of both logs, for the report of a failure.
func (t *terminalProcess) lastWords() error {
	return fmt.Errorf("the last of bipd's log:\n%s\nthe last of apd's log:\n%s", t.cp.tail(), t.ap.tail())
}
