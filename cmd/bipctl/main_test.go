package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
	"time"

	"bipd/internal/netbed"
	"bipd/internal/testkit"
)

// asBipctl makes the test program be bipctl: so the tests see its exit status without building it.
const asBipctl = "BIPCTL_TEST_AS_BIPCTL"

func TestMain(m *testing.M) {
	netbed.Enter()
	if os.Getenv(asBipctl) == "1" {
		main()
		os.Exit(0)
	}
	var forbidden *netbed.ForbiddenError
	if err := netbed.Reexec(); err != nil && !errors.As(err, &forbidden) {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	} // where namespaces are forbidden, netbed.ForTest skips each test that needs them
	before := runtime.NumGoroutine()
	code := m.Run()
	if err := testkit.Goroutines(before); err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	if built.dir != "" {
		os.RemoveAll(built.dir)
	}
	os.Exit(code)
}

// built is where the daemons are.
var built struct {
	once sync.Once
	dir  string
	err  error
}

// daemons gives the directory of bipd and apd, which are built once for all tests.
func daemons(t *testing.T) string {
	t.Helper()
	built.once.Do(func() {
		if built.dir, built.err = os.MkdirTemp("", "bip-bin-"); built.err != nil {
			return
		}
		cmd := exec.Command("go", "build", "-o", built.dir+"/", "bipd/cmd/bipd", "bipd/cmd/apd")
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			built.err = fmt.Errorf("%w\n%s", err, out)
		}
	})
	if built.err != nil {
		t.Fatalf("building bipd and apd: %v", built.err)
	}
	return built.dir
}

// requireEnv set to 1 turns a skip for want of a program into a failure.
const requireEnv = "REQUIRE_PROGRAMS"

// need skips the test where a program was not found, with the reason.
func need(t *testing.T, path string, err error) string {
	t.Helper()
	if err != nil {
		if os.Getenv(requireEnv) == "1" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	return path
}

// needNamespaces skips the test where there are none.
func needNamespaces(t *testing.T) {
	t.Helper()
	netbed.ForTest(t)
}

// shortDir is a directory whose name leaves room for that of a unix socket (108 octets), which t.TempDir's may not.
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "bip-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// await asks ready, for a bounded time, until it says yes.
func await(t *testing.T, what string, limit time.Duration, ready func() bool) {
	t.Helper()
	for end := time.Now().Add(limit); !ready(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s: not within %v", what, limit)
		}
	}
}

// bipctl is the command itself, with dir for its temporary files.
func bipctl(ctx context.Context, t *testing.T, dir string, args ...string) *exec.Cmd {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(ctx, exe, args...)
	cmd.Env = append(os.Environ(), asBipctl+"=1", "TMPDIR="+dir)
	cmd.WaitDelay = within // for the end of output that a process of its own still holds
	return cmd
}

// link puts programs under their names into a new directory.
func link(t *testing.T, programs ...string) string {
	t.Helper()
	dir := t.TempDir()
	for _, p := range programs {
		if err := os.Symlink(p, filepath.Join(dir, filepath.Base(p))); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}
