package pcsc

import (
	"context"
	"encoding/hex"
	"testing"
	"time"

	"bipd/uicc"
)

// patience bounds how long a test waits for what must happen. It passes in full only where a test fails.
const patience = 30 * time.Second

// atrT0 offers T=0, atrT1 T=1.
var (
	atrT0 = hx("3B9F01801F878031E073FE2100674A4C753034054B25")
	atrT1 = hx("3B80" + "81" + "31" + "FE45" + "8B")
)

func hx(s string) []byte {
	b, err := hex.DecodeString(s)
	if err != nil {
		panic(err)
	}
	return b
}

func testContext(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

// await reads states until want comes.
func await(t *testing.T, states <-chan uicc.SlotState, want uicc.SlotState) {
	t.Helper()
	late := time.After(patience)
	for {
		select {
		case st, ok := <-states:
			if !ok {
				t.Fatalf("the channel closed, state %d did not come", want)
			}
			if st == want {
				return
			}
		case <-late:
			t.Fatalf("state %d did not come", want)
		}
	}
}

// ended wants a channel of states to be closed.
func ended(t *testing.T, states <-chan uicc.SlotState) {
	t.Helper()
	select {
	case st, open := <-states:
		if open {
			t.Errorf("a state after the last: %v", st)
		}
	case <-time.After(patience):
		t.Error("the channel of states stays open")
	}
}

// awaitEnd waits until done is closed.
func awaitEnd(t *testing.T, what string, done <-chan struct{}) {
	t.Helper()
	select {
	case <-done:
	case <-time.After(patience):
		t.Errorf("%s does not end", what)
	}
}

func newReader(t *testing.T, name string, cfg Config) *Reader {
	t.Helper()
	r, err := New(name, cfg)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// connect connects, and closes at the test's end.
func connect(t *testing.T, r *Reader) uicc.Card {
	t.Helper()
	c, err := r.Connect(testContext(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// connectFor is connect, but that pcscd has the time given for each answer that comes after it alone, which a test wants to pass. The
// card is in its raw view.
func connectFor(t *testing.T, r *Reader, timeout time.Duration) *card {
	t.Helper()
	c := &card{reader: r}
	t.Cleanup(func() { c.Close() })
	if err := c.open(testContext(t)); err != nil {
		t.Fatal(err)
	}
	if err := c.Reset(testContext(t), uicc.ColdReset); err != nil {
		t.Fatal(err)
	}
	c.client.timeout = timeout
	return c
}
