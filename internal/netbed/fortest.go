package netbed

import (
	"context"
	"errors"
	"os"
)

// RequireEnv is the environment variable that, set to 1, turns a skip for want of namespaces into a failure.
const RequireEnv = "REQUIRE_NETNS"

// TB is what ForTest needs of a testing.TB.
type TB interface {
	Helper()
	Cleanup(func())
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any)
	Skipf(format string, args ...any)
}

// ForTest makes a bed that is closed at the end of the test. Where the system forbids namespaces the test is skipped
// with the reason, and with REQUIRE_NETNS=1 it fails.
func ForTest(t TB) *Bed {
	t.Helper()
	b, err := New(context.Background())
	var f *ForbiddenError
	if errors.As(err, &f) && os.Getenv(RequireEnv) != "1" {
		t.Skipf("%v", err)
	}
	if err != nil {
		t.Fatalf("%v", err)
	}
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Errorf("%v", err)
		}
	})
	return b
}
