package guest

import (
	"errors"
	"os"
	"strings"
	"testing"
)

func TestVerdict(t *testing.T) {
	for _, tc := range []struct {
		status int
		output string
		want   string
	}{
		{0, "=== RUN   TestA\n--- PASS: TestA (0.00s)\nPASS\n", ""},
		{1, "--- FAIL: TestA (0.00s)\nFAIL\n", "status 1"},
		{0, "testing: warning: no tests to run\nPASS\n", "does not exist"},
		{0, "--- PASS: TestA (0.00s)\n    --- SKIP: TestA/b (0.00s)\nPASS\n", "skipped"},
		{0, "", "did not say"},
	} {
		if got := verdict(tc.status, tc.output); (tc.want == "") != (got == "") || !strings.Contains(got, tc.want) {
			t.Errorf("status %d, %q: %q, want %q", tc.status, tc.output, got, tc.want)
		}
	}
}

func TestAnchored(t *testing.T) {
	for pattern, want := range map[string]string{"TestA": "^(TestA)$", "TestA|TestB/x": "^(TestA|TestB)$/^(x)$"} {
		if got := anchored(pattern); got != want {
			t.Errorf("%s: %s, want %s", pattern, got, want)
		}
	}
}

func TestConfig(t *testing.T) {
	good := Config{Files: map[string]string{"/a": "b"}, Sockets: []string{"card"}}
	if err := good.check(); err != nil {
		t.Error(err)
	}
	for _, bad := range []Config{{Files: map[string]string{"a": "b"}}, {Sockets: []string{""}}, {Sockets: []string{"a/b"}}, {Memory: -1}} {
		if bad.check() == nil {
			t.Errorf("%+v is taken", bad)
		}
	}
	if c := (Config{}).withDefaults(); c.Memory != defaultMemory || c.Timeout != defaultTimeout {
		t.Errorf("defaults %+v", c)
	}
}

// recorder is a test that notes how it ended.
type recorder struct {
	testing.TB
	skipped, failed string
}

var errEnd = errors.New("end of the test")

func (r *recorder) Helper() {}
func (r *recorder) Skipf(format string, args ...any) {
	r.skipped = format
	panic(errEnd)
}
func (r *recorder) Fatalf(format string, args ...any) {
	r.failed = format
	panic(errEnd)
}

// Without QEMU a test is skipped, or fails where guests are required.
func TestMissing(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	for _, required := range []string{"", "1"} {
		t.Setenv(RequireEnv, required)
		var r recorder
		func() {
			defer func() {
				if p := recover(); p != errEnd {
					t.Errorf("ended with %v", p)
				}
			}()
			Start(&r, Config{})
		}()
		if (r.failed != "") != (required == "1") || (r.skipped != "") != (required == "") {
			t.Errorf("%s=%s: skipped %q, failed %q", RequireEnv, required, r.skipped, r.failed)
		}
	}
	if _, err := Boot(t.Context(), Config{}); err == nil || !strings.Contains(err.Error(), "qemu-system-x86_64") {
		t.Errorf("error %v, want one that names what is missing", err)
	}
}

func TestOutsideAGuest(t *testing.T) {
	if IsInside() {
		t.Error("this is no guest")
	}
	InitIfFirst() // returns, as this is not the first process
	if _, err := TryAsk("a", ""); err == nil {
		t.Error("there is no host to ask")
	}
}

func TestSkipInside(t *testing.T) {
	for skip, want := range map[string]string{"": "^TestInside", "TestA/b": "^TestInside|TestA/b"} {
		if got := skipInside(skip); got != want {
			t.Errorf("-skip=%s: %s, want %s", skip, got, want)
		}
	}
}

// A program that needs libraries is refused: the guest has none.
func TestCheckStatic(t *testing.T) {
	if err := checkStatic("/bin/ls"); err == nil {
		t.Error("a program with libraries is taken")
	}
	file := t.TempDir() + "/text"
	if err := os.WriteFile(file, []byte("text"), 0o600); err != nil {
		t.Fatal(err)
	}
	if checkStatic(file) == nil {
		t.Error("what is no program is taken")
	}
}
