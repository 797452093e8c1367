package netbed

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

const (
	// helperEnv makes the test binary do one thing instead of its tests; see helper.
	helperEnv = "NETBED_TEST_HELPER"
	// nestedEnv keeps the tests that start the test binary from running in the started one.
	nestedEnv = "NETBED_TEST_NESTED"
	nobody    = 65534
)

// helper is what the test binary does as a helper program after Reexec.
func helper(mode string, reexecErr error) int {
	switch {
	case reexecErr != nil:
		return 99
	case mode == "exit":
		return 7
	case mode == "kill":
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
	case mode == "signal":
		c := make(chan os.Signal, 1)
		signal.Notify(c, os.Interrupt, syscall.SIGTERM)
		fmt.Println("ready as", os.Getuid())
		return int((<-c).(syscall.Signal)) + 100
	}
	return 98
}

// zombie says whether the process has ended but is not collected.
func zombie(pid int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return errors.Is(err, os.ErrNotExist)
	}
	_, rest, _ := bytes.Cut(b, []byte(") "))
	return bytes.HasPrefix(rest, []byte("Z"))
}

// inUserns is the test binary as nobody (as root: with NETBED_USERNS, as itself), so that Reexec makes a user
// namespace. It skips where the system forbids that, and fails then with REQUIRE_NETNS=1.
func inUserns(t *testing.T, asNobody bool, env string, args ...string) *exec.Cmd {
	t.Helper()
	if os.Getenv(nestedEnv) != "" {
		t.Skip("runs in the outer test only")
	}
	start := func(env string, args ...string) *exec.Cmd {
		cmd := exec.CommandContext(within(t), "/proc/self/exe", args...)
		cmd.Env = append(os.Environ(), nestedEnv+"=1", env)
		if asNobody {
			cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
		} else {
			cmd.Env = append(cmd.Env, usernsEnv+"=1")
		}
		return cmd
	}
	if asNobody && os.Getuid() != 0 {
		t.Skip("only root can become nobody")
	}
	probe := start(helperEnv+"=exit", "probe")
	var exit *exec.ExitError
	out, err := probe.CombinedOutput()
	switch {
	case errors.As(err, &exit) && exit.ExitCode() == 7: // the helper's own status: Reexec passes it on
	case errors.As(err, &exit) && exit.ExitCode() == 99 && os.Getenv(RequireEnv) != "1":
		t.Skipf("%s", out)
	default:
		t.Fatalf("probe: %v\n%s", err, out)
	}
	return start(env, args...)
}

// The tests that matter run once more as an ordinary user in a user namespace.
func TestBedAsNobody(t *testing.T) {
	tests := []string{"TestHostsTalk", "TestDefaultRouteAndForwarding", "TestDo", "TestCommandRunsOnTheHost",
		"TestCloseKillsCommands", "TestCloseLeavesNothing", "TestNotPrivilegedOutside"}
	cmd := inUserns(t, true, RequireEnv+"=1", "-test.v", "-test.run", "^("+strings.Join(tests, "|")+")$")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("as nobody: %v", err)
	}
	for _, name := range tests {
		if !strings.Contains(string(out), "--- PASS: "+name) {
			t.Errorf("%s did not pass as nobody", name)
		}
	}
	if t.Failed() {
		t.Logf("%s", out)
	}
}

// In the copy that Reexec starts the user is root of the namespace only.
func TestNotPrivilegedOutside(t *testing.T) {
	if os.Getenv(nestedEnv) == "" {
		t.Skip("runs in a user namespace, started by TestBedAsNobody")
	}
	if os.Geteuid() != 0 || !privileged() {
		t.Errorf("uid %d, privileged %v, want root of the namespace", os.Geteuid(), privileged())
	}
	if b, err := os.ReadFile("/proc/self/uid_map"); err != nil || len(strings.Fields(string(b))) != 3 ||
		strings.Fields(string(b))[1] != fmt.Sprint(nobody) {
		t.Errorf("uid map %q, %v", b, err)
	}
	if os.Getenv(insideEnv) != "" {
		t.Error("the mark of the copy is handed on to what it starts")
	}
}

func TestReexecPassesSignalsAndStatus(t *testing.T) {
	var exit *exec.ExitError
	for _, s := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT} {
		cmd := inUserns(t, false, helperEnv+"=signal")
		cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // SIGINT as a program sends it, not as a terminal
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || line != "ready as 0\n" {
			t.Errorf("the helper said %q, %v", line, err)
		}
		if err := cmd.Process.Signal(s); err != nil {
			t.Fatal(err)
		}
		if err := cmd.Wait(); !errors.As(err, &exit) || exit.ExitCode() != int(s)+100 {
			t.Errorf("after %v: %v, want status %d", s, err, int(s)+100)
		}
	}
	if err := inUserns(t, false, helperEnv+"=kill").Run(); !errors.As(err, &exit) || exit.ExitCode() != 128+9 {
		t.Errorf("after SIGKILL of the copy: %v, want status 137", err)
	}
}

func TestForbidden(t *testing.T) {
	for _, tc := range []struct {
		name   string
		err    error
		sysctl map[string]string
		want   string
	}{
		{"switched off", unix.ENOSPC, map[string]string{"user/max_user_namespaces": "0"}, "max_user_namespaces is 0"},
		{"no network namespaces", unix.ENOSPC, map[string]string{"user/max_net_namespaces": "0"}, "max_net_namespaces is 0"},
		{"too many", unix.ENOSPC, map[string]string{"user/max_user_namespaces": "9"}, "too many"},
		{"old Debian", unix.EPERM, map[string]string{"kernel/unprivileged_userns_clone": "0"}, "unprivileged_userns_clone is 0"},
		{"Ubuntu", unix.EACCES, map[string]string{"kernel/apparmor_restrict_unprivileged_userns": "1"}, "AppArmor"},
		{"container", unix.EPERM, nil, "seccomp"},
		{"kernel without", unix.EINVAL, nil, "built without"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got := refusal(fmt.Errorf("clone: %w", tc.err), func(path string) string { return tc.sysctl[path] })
			if !strings.Contains(got, tc.want) {
				t.Errorf("reason %q, want one with %q", got, tc.want)
			}
		})
	}
	var f *ForbiddenError
	if err := forbidden(fmt.Errorf("clone: %w", unix.EPERM)); !errors.As(err, &f) || !errors.Is(err, unix.EPERM) {
		t.Errorf("EPERM gave %v", err)
	}
	if err := forbidden(unix.EMFILE); errors.As(err, &f) {
		t.Errorf("EMFILE is no refusal, but gave %v", err)
	}
}

// Without rights New says so instead of a bare errno.
func TestNewWithoutRights(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root can become nobody")
	}
	cmd := exec.CommandContext(within(t), "/proc/self/exe", "-test.v", "-test.run", "^TestHostsTalk$")
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	for _, require := range []string{"0", "1"} {
		c := *cmd
		c.Env = append(os.Environ(), insideEnv+"=1", RequireEnv+"="+require) // as if Reexec had run
		out, err := c.CombinedOutput()
		verdict := map[string]string{"0": "--- SKIP: TestHostsTalk", "1": "--- FAIL: TestHostsTalk"}[require]
		if (err != nil) != (require == "1") || !strings.Contains(string(out), verdict) ||
			!strings.Contains(string(out), "network namespaces are not available") {
			t.Errorf("%s=%s: %v\n%s", RequireEnv, require, err, out)
		}
	}
}
