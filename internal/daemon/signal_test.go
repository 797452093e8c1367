package daemon

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestAsDaemon is no test but the daemon of TestSignals: it never ends by itself.
func TestAsDaemon(t *testing.T) {
	if os.Getenv("BIPD_TEST_DAEMON") == "" {
		return // TestSignals starts it
	}
	ctx, cancel := Context()
	defer cancel()
	fmt.Fprintln(os.Stderr, "nobody reads this")
	fmt.Println("ready")
	<-ctx.Done()
	hook := exec.Command("sh", "-c", "grep SigIgn /proc/self/status")
	out, err := hook.Output()
	fmt.Printf("ending %q %v\n", out, err)
	select {}
}

// The second signal ends a daemon at once, while the first still waits. A standard error without a reader ends none, and
// programs that a daemon starts do not inherit that SIGPIPE is ignored.
func TestSignals(t *testing.T) {
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT} {
		t.Run(sig.String(), func(t *testing.T) {
			cmd := exec.Command(os.Args[0], "-test.run=^TestAsDaemon$")
			cmd.Env = append(os.Environ(), "BIPD_TEST_DAEMON=1")
			out, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			r, w, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			r.Close()
			cmd.Stderr = w
			err = cmd.Start()
			w.Close()
			if err != nil {
				t.Fatal(err)
			}
			overdue := time.AfterFunc(patience, func() { cmd.Process.Kill() })
			defer overdue.Stop()
			lines := bufio.NewScanner(out)
			said := func(what string) string {
				for lines.Scan() {
					if strings.HasPrefix(lines.Text(), what) {
						return lines.Text()
					}
				}
				t.Fatalf("the daemon does not say %q", what)
				return ""
			}
			said("ready")
			cmd.Process.Signal(sig)
			hook := said("ending")
			var ignored uint64
			if _, err := fmt.Sscanf(strings.ReplaceAll(hook, `\t`, " "), "ending \"SigIgn: %x", &ignored); err != nil || ignored&(1<<(syscall.SIGPIPE-1)) != 0 {
				t.Errorf("a program that the daemon starts ignores %x (%v): %s", ignored, err, hook)
			}
			cmd.Process.Signal(sig)
			cmd.Wait()
			if st := cmd.ProcessState.Sys().(syscall.WaitStatus); !st.Signaled() || st.Signal() != sig {
				t.Errorf("after the second signal: %v", cmd.ProcessState)
			}
		})
	}
}
