package cat

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"bipd/uicc"
)

// testCard is a card with a toolkit, made for one test: it has files as far as the initialisation needs them, and a queue
// of proactive commands. It notes what it is sent and when, and what a terminal may not do. Its fields are used by the
// session's goroutine; a test reads them after synctest.Wait, and changes them by bench.do.
type testCard struct {
	t     *testing.T
	start time.Time

	gsm       bool     // class A0 only
	directory []byte   // of a class A0 card
	records   [][]byte // of EF_DIR; nil = there is none
	noShort   bool     // STATUS without data is refused

	queue       [][]byte // proactive commands that wait
	outstanding []byte   // fetched, not answered yet
	exchanges   []exchange
	responses   []Response
	envelopes   []Envelope
	faults      []string // what the terminal did wrong
	resets      int
	resetErr    error

	// slow, where it is set, is how long the card takes for a TERMINAL RESPONSE, of which began tells that it has come.
	slow  time.Duration
	began func()

	// hook, where it is set, may answer in place of the card: ok says that it did. nth counts the exchanges from 1.
	hook func(nth int, c uicc.Command) (rapdu []byte, err error, ok bool)
}

type exchange struct {
	at   time.Duration
	apdu string
}

func newTestCard(t *testing.T) *testCard {
	return &testCard{t: t, start: time.Now()}
}

func (c *testCard) ATR() []byte  { return []byte{0x3B, 0x00} }
func (c *testCard) Close() error { return nil }

func (c *testCard) Reset(_ context.Context, kind uicc.ResetKind) error {
	if kind != uicc.ColdReset {
		c.fault("reset %v", kind)
	}
	c.exchanges = append(c.exchanges, exchange{time.Since(c.start), "RESET"})
	c.resets++
	c.outstanding = nil
	return c.resetErr
}

func (c *testCard) fault(format string, args ...any) {
	c.faults = append(c.faults, fmt.Sprintf(format, args...))
}

func (c *testCard) Transmit(ctx context.Context, capdu []byte) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	cmd, err := uicc.ParseCommand(capdu)
	if err != nil {
		c.fault("%v", err)
		return nil, err
	}
	c.exchanges = append(c.exchanges, exchange{time.Since(c.start), fmt.Sprintf("%X", capdu)})
	if c.hook != nil {
		if rapdu, err, ok := c.hook(len(c.exchanges), cmd); ok {
			return rapdu, err
		}
	}
	if class := cmd.CLA == classGSM; class != c.gsm {
		return sw(0x6E00), nil
	}
	switch cmd.INS {
	case insSelect, insReadRecord, insVerify:
		return c.file(cmd), nil
	case insFetch:
		return c.fetch(cmd), nil
	case insTerminalResponse:
		if c.slow > 0 {
			c.began()
			select {
			case <-time.After(c.slow):
			case <-ctx.Done():
				return nil, context.Cause(ctx)
			}
		}
		return c.response(cmd), nil
	case insEnvelope:
		return c.envelope(cmd), nil
	case insStatus:
		if c.noShort && cmd.P2 == 0x0C {
			return sw(0x6A86), nil
		}
		return c.next(), nil
	case insTerminalProfile:
		return c.next(), nil
	}
	return sw(0x6D00), nil
}

func sw(n uint16) []byte { return []byte{byte(n >> 8), byte(n)} }

// next is 9000, or 91xx where a command waits and none is outstanding.
func (c *testCard) next() []byte {
	if c.outstanding == nil && len(c.queue) > 0 {
		return []byte{0x91, byte(len(c.queue[0]))}
	}
	return sw(0x9000)
}

func (c *testCard) file(cmd uicc.Command) []byte {
	switch {
	case cmd.INS == insVerify:
		return sw(0x9000)
	case cmd.INS == insReadRecord:
		if int(cmd.P1) > len(c.records) {
			return sw(0x6A83)
		}
		return append(slices.Clone(c.records[cmd.P1-1]), 0x90, 0x00)
	case bytes.Equal(cmd.Data, []byte{0x2F, 0x00}) && c.records == nil:
		return sw(0x6A82)
	case c.gsm:
		return append(slices.Clone(c.directory), 0x90, 0x00)
	}
	return []byte{0x62, 0x00, 0x90, 0x00}
}

func (c *testCard) fetch(cmd uicc.Command) []byte {
	switch {
	case c.outstanding != nil:
		c.fault("FETCH while %X is not answered", c.outstanding)
		return sw(0x6F00)
	case len(c.queue) == 0:
		c.fault("FETCH, but nothing waits")
		return sw(0x6F00)
	case cmd.Le != len(c.queue[0]):
		c.fault("FETCH of %d octets, %d wait", cmd.Le, len(c.queue[0]))
	}
	c.outstanding, c.queue = c.queue[0], c.queue[1:]
	return append(slices.Clone(c.outstanding), 0x90, 0x00)
}

func (c *testCard) response(cmd uicc.Command) []byte {
	r, devices, err := ParseResponse(cmd.Data)
	switch {
	case err != nil:
		c.fault("TERMINAL RESPONSE %X: %v", cmd.Data, err)
	case c.outstanding == nil:
		c.fault("TERMINAL RESPONSE to nothing")
	case devices != DeviceIdentities{DeviceTerminal, DeviceUICC}:
		c.fault("TERMINAL RESPONSE from %v to %v", devices.Source, devices.Destination)
	}
	c.responses = append(c.responses, r)
	c.outstanding = nil
	return c.next()
}

func (c *testCard) envelope(cmd uicc.Command) []byte {
	if c.outstanding != nil {
		c.fault("ENVELOPE while a command is not answered")
	}
	e, err := ParseEnvelope(cmd.Data)
	if err != nil {
		c.fault("ENVELOPE %X: %v", cmd.Data, err)
	}
	c.envelopes = append(c.envelopes, e)
	return c.next()
}

// count is how many command APDUs begin with the hex prefix.
func (c *testCard) count(prefix string) int { return len(c.times(prefix)) }

// times is when the command APDUs came that begin with the hex prefix.
func (c *testCard) times(prefix string) []time.Duration {
	var at []time.Duration
	for _, e := range c.exchanges {
		if strings.HasPrefix(e.apdu, prefix) {
			at = append(at, e.at)
		}
	}
	return at
}

// after is what the card was sent after its nth exchange.
func (c *testCard) after(n int) []string {
	var list []string
	for _, e := range c.exchanges[n:] {
		list = append(list, e.apdu)
	}
	return list
}

// bench runs a session with a testCard.
type bench struct {
	t      *testing.T
	card   *testCard
	s      *Session
	cancel context.CancelCauseFunc
	done   chan error
	inited int // exchanges of the initialisation
}

// runSession starts a session and waits until it is idle. To be called in a synctest bubble, which fails when goroutines stay.
func runSession(t *testing.T, card *testCard, cfg Config, setup ...func(*Session)) *bench {
	t.Helper()
	cfg.Name = "test"
	b := &bench{t: t, card: card, s: NewSession(card, cfg), done: make(chan error, 1)}
	for _, f := range setup {
		f(b.s)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	b.cancel = cancel
	go func() { b.done <- b.s.Run(ctx) }()
	synctest.Wait()
	b.inited = len(card.exchanges)
	return b
}

// do changes the card, or what its hook uses, on the session's goroutine.
func (b *bench) do(f func()) {
	b.t.Helper()
	if !b.s.Post(f) {
		b.t.Fatal("the session has ended")
	}
	synctest.Wait()
}

// sleep lets time pass and waits until the session is idle again. The session's goroutine is woken before, so that what
// the test read happened before what the session does next.
func (b *bench) sleep(d time.Duration) {
	b.t.Helper()
	b.do(func() {})
	time.Sleep(d)
	synctest.Wait()
}

// give queues commands for the next STATUS, and lets time pass until it came and everything was answered.
func (b *bench) give(commands ...[]byte) []Response {
	b.t.Helper()
	n := len(b.card.responses)
	b.do(func() { b.card.queue = append(b.card.queue, commands...) })
	b.sleep(b.s.poll)
	return b.card.responses[n:]
}

// answer gives one command and returns the response to it.
func (b *bench) answer(command []byte) Response {
	b.t.Helper()
	got := b.give(command)
	if len(got) != 1 {
		b.t.Fatalf("%d responses to %X", len(got), command)
	}
	return got[0]
}

// subscribe sets up the event list.
func (b *bench) subscribe(events ...EventCode) {
	b.t.Helper()
	if r := b.answer(NewCommand(1, 0, &SetUpEventList{Events: events}).Append(nil)); r.Result.General != ResultOK {
		b.t.Fatalf("SET UP EVENT LIST: %v", r.Result)
	}
}

// end waits for the end of the session, and returns its error.
func (b *bench) end() error {
	b.t.Helper()
	var err error
	select {
	case err = <-b.done:
	case <-time.After(time.Hour):
		b.cancel(nil)
		b.t.Errorf("the session does not end; it was ended with %v", <-b.done)
	}
	for _, f := range b.card.faults {
		b.t.Error("the terminal is at fault:", f)
	}
	return err
}

// stop cancels the session and checks that it ends so.
func (b *bench) stop() {
	b.t.Helper()
	b.cancel(nil)
	if err := b.end(); err != context.Canceled {
		b.t.Errorf("the session ended with %v", err)
	}
}

// testSource is a source of envelopes that the test fills.
type testSource struct {
	due    []Envelope
	sent   int // Sending ran
	taken  int
	ended  int // chains
	resets int
}

func (s *testSource) NextEvent() (Due, bool) {
	if len(s.due) == 0 {
		return Due{}, false
	}
	return Due{Envelope: s.due[0], Sending: func() { s.sent++ }, Taken: func() { s.taken++; s.due = s.due[1:] }}, true
}

func (s *testSource) ChainEnded() { s.ended++ }
func (s *testSource) CardReset()  { s.resets++; s.due = nil }

// tell has the source tell the card something.
func (b *bench) tell(src *testSource, envelopes ...Envelope) {
	b.t.Helper()
	b.do(func() { src.due = append(src.due, envelopes...) })
}

// logInto makes a logger that writes everything into the buffer.
func logInto(buf *bytes.Buffer) *slog.Logger {
	return slog.New(slog.NewTextHandler(buf, &slog.HandlerOptions{Level: slog.LevelDebug}))
}
