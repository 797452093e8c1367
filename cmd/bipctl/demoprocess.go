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
	"bipd/softuicc"
)

// process is a program that runs on a host, with its output in a file.
type process struct {
	name string // of the program
	cmd  *exec.Cmd
	log  string
	done chan struct{} // closed when it has ended
	err  error         // how; to be read after done
}

func startProcess(ctx context.Context, host *netbed.Host, dir, name string, args ...string) (*process, error) {
	p := &process{name: filepath.Base(name), done: make(chan struct{})}
	p.log = filepath.Join(dir, p.name+".log")
	out, err := os.OpenFile(p.log, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
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

// Bounds of a start and of an end. They pass in full only where something is wrong, and a machine under load may need long.
const (
	startTime = 30 * time.Second
	endTime   = 15 * time.Second
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
			return fmt.Errorf("%w\n%s", p.ended(), p.tail())
		case <-ctx.Done():
			return fmt.Errorf("%s is not ready: %w\n%s", p.name, err, p.tail())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// ended says how the process has ended; nil while it runs.
func (p *process) ended() error {
	select {
	case <-p.done:
		if p.err == nil {
			return fmt.Errorf("%s ended by itself", p.name)
		}
		return fmt.Errorf("%s ended: %w", p.name, p.err)
	default:
		return nil
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
	bin, dir string
	net      *network
	reader   string // the socket into which the card dials
	cp, ap   *process
}

// The configurations are what an operator would write, with other paths. A card cannot begin to speak, so one that thinks
// longer than it may hold its answer back waits for the next poll: on a slow machine that must not be the usual 30 s.
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
RULES[terminal]
poll_interval = "1s"
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
RULES`
	apdProfiles = `[[profile]]
name = "internet"
default = true
pdp_type = "IP"
user = "demo"
password = "not to be seen in any log"
dns = ["203.0.113.80"]
mtu = 1500
`
	// The servers' addresses are for documentation, which cards reach no more than private ones.
	demoRules = `[[egress.rule]]
action = "allow"
prefix = ["203.0.113.0/24"]
`
)

// demoConfigs are the configuration files of the demonstration, by name.
func demoConfigs(dir string) map[string]string {
	files := map[string]string{"bipd.toml": bipdConfig, "apd.toml": apdConfig, "profiles.toml": apdProfiles}
	for name, text := range files {
		files[name] = strings.NewReplacer("DIR", dir, "RULES", demoRules).Replace(text)
	}
	return files
}

// startTerminal writes the configuration files into dir, and starts both daemons with them.
func startTerminal(ctx context.Context, bin, dir string, n *network, configs map[string]string) (*terminalProcess, error) {
	for name, text := range configs {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			return nil, err
		}
	}
	t := &terminalProcess{bin: bin, dir: dir, net: n, reader: filepath.Join(dir, "card0.sock")}
	var err error
	if t.cp, err = t.start(ctx, n.cp, "bipd"); err != nil {
		return nil, err
	}
	if t.ap, err = t.start(ctx, n.ap, "apd"); err != nil {
		t.cp.close()
		return nil, err
	}
	if err := t.ready(ctx); err != nil {
		t.close()
		return nil, err
	}
	return t, nil
}

func (t *terminalProcess) start(ctx context.Context, host *netbed.Host, name string) (*process, error) {
	return startProcess(ctx, host, t.dir, filepath.Join(t.bin, name), "--config", filepath.Join(t.dir, name+".toml"))
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

// ended says which of the daemons has ended; nil where both run. A card that has lost its reader, or its power in the middle
// of its work, means that bipd is about to end.
func (t *terminalProcess) ended(cause error) error {
	if errors.Is(cause, errReaderGone) || errors.Is(cause, softuicc.ErrReset) {
		select {
		case <-t.cp.done:
		case <-time.After(endTime):
		}
	}
	return errors.Join(t.cp.ended(), t.ap.ended())
}

// lastWords is the end of both logs, for the report of a failure.
func (t *terminalProcess) lastWords() error {
	return fmt.Errorf("the last of bipd's log:\n%s\nthe last of apd's log:\n%s", t.cp.tail(), t.ap.tail())
}
