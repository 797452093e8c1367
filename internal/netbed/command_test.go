package netbed

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestCommandRunsOnTheHost(t *testing.T) {
	b := ForTest(t)
	x, y := mustHost(t, b, "x"), mustHost(t, b, "y")
	mustLink(t, b, x, y, "10.1.0.1/24", "10.1.0.2/24")
	cmd := x.Command(within(t), "cat", "-", "/proc/self/net/dev")
	cmd.Stdin = strings.NewReader("input\n")
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	if s := string(out); !strings.HasPrefix(s, "input\n") || !strings.Contains(s, "to-y:") || strings.Contains(s, "to-x:") {
		t.Errorf("the command on x sees %q", s)
	}
	var exit *exec.ExitError
	if err := x.Command(within(t), "sh", "-c", "exit 42").Run(); !errors.As(err, &exit) || exit.ExitCode() != 42 {
		t.Errorf("exit 42 gave %v", err)
	}
	if err := x.Command(within(t), "no-such-program-here").Run(); !errors.Is(err, exec.ErrNotFound) {
		t.Errorf("a program that is not there gave %v", err)
	}
}

// processes starts a shell on the host with a child in its group and a child in a session of its own, and gives the
// three process ids.
func processes(t *testing.T, ctx context.Context, h *Host) (*exec.Cmd, []int) {
	t.Helper()
	cmd := h.Command(ctx, "sh", "-c", `
		sleep 1000 & echo $$ $!
		setsid sh -c 'echo $$; exec sleep 1000' & wait`)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	pids := make([]int, 3)
	if n, err := fmt.Fscan(out, &pids[0], &pids[1], &pids[2]); err != nil || pids[0] != cmd.Process.Pid {
		t.Fatalf("the shell gave %d process ids, %v, its own is %d: %v", n, pids, cmd.Process.Pid, err)
	}
	return cmd, pids
}

// awaitEnd waits until the process is gone or a zombie that somebody else has to collect.
func awaitEnd(t *testing.T, pid int) {
	t.Helper()
	for end := time.Now().Add(patience / 2); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) || zombie(pid) {
			return
		}
	}
	t.Errorf("process %d still runs", pid)
}

func TestCloseKillsCommands(t *testing.T) {
	b := ForTest(t)
	cmd, pids := processes(t, within(t), mustHost(t, b, "x"))
	if err := b.Close(); err != nil {
		t.Error(err)
	}
	for _, pid := range pids {
		awaitEnd(t, pid)
	}
	if err := cmd.Wait(); err == nil {
		t.Error("a killed command ended well")
	}
}

func TestContextKillsTheGroup(t *testing.T) {
	b := ForTest(t)
	ctx, cancel := context.WithCancel(within(t))
	cmd, pids := processes(t, ctx, mustHost(t, b, "x"))
	cancel()
	if err := cmd.Wait(); err == nil {
		t.Error("a killed command ended well")
	}
	awaitEnd(t, pids[0])
	awaitEnd(t, pids[1])
	// The child with a session of its own is not in the group: it runs until Close.
	if err := syscall.Kill(pids[2], 0); err != nil || zombie(pids[2]) {
		t.Errorf("the child outside the group: %v", err)
	}
	if err := b.Close(); err != nil {
		t.Error(err)
	}
	awaitEnd(t, pids[2])
}

func TestCommandNeedsEnter(t *testing.T) {
	b := ForTest(t)
	entered.Store(false)
	t.Cleanup(func() { entered.Store(true) })
	if err := mustHost(t, b, "x").Command(within(t), "true").Run(); err == nil || !strings.Contains(err.Error(), "Enter") {
		t.Errorf("without Enter: %v", err)
	}
}
