package sms

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"bipd/cat"
)

// Hook runs a program for each message.
type Hook struct {
	Path    string
	Timeout time.Duration // for one run; 0 = DefaultHookTimeout
}

// DefaultHookTimeout is shorter than cards wait for the response.
const DefaultHookTimeout = 30 * time.Second

// maxHookOutput bounds what of a program's output is kept for the log.
const maxHookOutput = 512

// killWait is how long a program that was killed may leave its output open.
const killWait = time.Second

// Send runs the program with the message on its standard input. An exit status other than 0, or a run that is too long, is an
// error; a program that is too slow is killed together with the processes that it has started.
func (h Hook) Send(ctx context.Context, m cat.ShortMessage) error {
	b, err := encode(m, time.Now().UTC())
	if err != nil {
		return err
	}
	timeout := h.Timeout
	if timeout <= 0 {
		timeout = DefaultHookTimeout
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	var output head
	cmd := exec.CommandContext(ctx, h.Path)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(b), &output, &output
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = killWait
	err = cmd.Run()
	switch {
	case err == nil:
		return nil
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return fmt.Errorf("hook %s: not done within %v: killed", h.Path, timeout)
	case ctx.Err() != nil:
		return fmt.Errorf("hook %s: killed: %w", h.Path, context.Cause(ctx))
	}
	return fmt.Errorf("hook %s: %w%s", h.Path, err, output.said())
}

// head keeps the beginning of what is written to it.
type head struct{ kept []byte }

func (h *head) Write(b []byte) (int, error) {
	h.kept = append(h.kept, b[:min(len(b), maxHookOutput-len(h.kept))]...)
	return len(b), nil
}

func (h *head) said() string {
	if s := strings.TrimSpace(string(h.kept)); s != "" {
		return fmt.Sprintf(" (%q)", s)
	}
	return ""
}
