package at

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// What a Client's methods report beside CMEError, ErrSyntax and the error of the context.
var (
	ErrFinal   = errors.New("at: the peer answered with a failure") // ERROR, or a modem's NO CARRIER, +CMS ERROR, ...
	ErrTimeout = errors.New("at: no final result code in time")     // wraps the context's error with it
	ErrClosed  = errors.New("at: the line has ended")
	ErrBabble  = errors.New("at: too many information lines")
)

const (
	defaultTimeout = 60 * time.Second
	maxLines       = 128 // information lines of one command

	syncFirst = 300 * time.Millisecond // wait before AT is sent again, doubled each time
	syncLast  = 2 * time.Second
	syncQuiet = 100 * time.Millisecond // silence that ends the search for stale final result codes
)

// ClientConfig is the set-up of a Client.
type ClientConfig struct {
	// Unsolicited gets each line that belongs to no command, in order, from the goroutine that reads the line: it must
	// not block, nor call Do. nil drops them.
	Unsolicited func(line string)
	// Answers names the information lines that do not bear their command's name: "%GETNET" is answered by "%NETPAR".
	Answers map[string]string
	Timeout time.Duration                    // of a command whose context has no deadline; 0: 60 s
	Trace   func(received bool, line string) // every line as it was received or sent, credentials included; may be nil
	Log     *slog.Logger                     // nil: no log
}

// Client sends commands, one at a time, and reads all that comes back. Its only goroutine ends when reading the line
// fails; whoever closes the line ends the Client.
type Client struct {
	rw   io.ReadWriter
	cfg  ClientConfig
	turn chan struct{} // holds a token while a command is outstanding

	unsure       atomic.Bool  // what comes next may be the answer to an earlier command
	name, answer string       // under the turn: of the last command, whose late lines are no unsolicited ones
	due          atomic.Int64 // Unix time in ns at which a command was given up, with no final result code since; 0: none

	mu      sync.Mutex
	pending *pending

	done chan struct{}
	err  error // why reading ended; set before done is closed
}

// pending is the command that waits for its final result code.
type pending struct {
	name, answer string // names of its information lines
	lines        []string
	final        chan outcome // buffered
	sync         bool         // any number of final result codes, all lines of the name are stale
	last         bool         // reading ends after OK
}

type outcome struct {
	err  error
	rest []byte // last: what was read behind the OK
}

// NewClient starts reading rw. A Write that waits can be given up only if rw has SetWriteDeadline.
func NewClient(rw io.ReadWriter, cfg ClientConfig) *Client {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Timeout == 0 {
		cfg.Timeout = defaultTimeout
	}
	c := &Client{rw: rw, cfg: cfg, turn: make(chan struct{}, 1), done: make(chan struct{})}
	go c.read()
	return c
}

// Done is closed when reading has ended: the line failed, or Switch took it.
func (c *Client) Done() <-chan struct{} { return c.done }

// Err tells why reading ended, nil before Done. It wraps ErrClosed.
func (c *Client) Err() error {
	select {
	case <-c.done:
		return c.err
	default:
		return nil
	}
}

// Busy reports whether a command is outstanding.
func (c *Client) Busy() bool { return len(c.turn) > 0 }

// Unanswered tells since when the peer owes an answer: a command was given up, and no final result code has come since.
// It is the zero Time where none is due.
func (c *Client) Unanswered() time.Time {
	if ns := c.due.Load(); ns != 0 {
		return time.Unix(0, ns)
	}
	return time.Time{}
}

// Do sends the command once those before it are answered, and returns its information lines, each with its name. Without
// a deadline in ctx the configured time limit holds. After a command without an answer the next Do first makes sure of
// the line as Sync does.
func (c *Client) Do(ctx context.Context, cmd Command) (lines []string, err error) {
	p, err := c.do(ctx, cmd, false)
	if err != nil {
		return nil, err
	}
	return p.lines, nil
}

// Switch sends a command whose OK gives the line to another protocol. After success the Client reads no more and is
// done; rest is what it had read behind the OK. After an error it goes on as after Do.
func (c *Client) Switch(ctx context.Context, cmd Command) (rest []byte, err error) {
	p, err := c.do(ctx, cmd, true)
	if err != nil {
		return nil, err
	}
	out := <-p.final
	<-c.done
	return out.rest, nil
}

// Doubt tells that an answer was not the command's: it may have been that of an earlier command, and so would all that
// follow. The next Do first makes sure of the line as Sync does.
func (c *Client) Doubt() { c.unsure.Store(true) }

// Sync finds out whether a server is listening: it sends AT, again and again, until a final result code comes, then
// waits until none has come for 100 ms, for earlier ones may have been late. It throws away a line begun by whoever
// wrote before: CAN makes it one that cannot be carried out, CR ends it.
func (c *Client) Sync(ctx context.Context) error {
	ctx, cancel := c.limit(ctx)
	defer cancel()
	if err := c.acquire(ctx, "AT"); err != nil {
		return err
	}
	defer c.release()
	return c.sync(ctx)
}

func (c *Client) do(ctx context.Context, cmd Command, last bool) (*pending, error) {
	line, err := PrintLine(cmd)
	if err != nil {
		return nil, err
	}
	ctx, cancel := c.limit(ctx)
	defer cancel()
	if err := c.acquire(ctx, cmd.Name); err != nil {
		return nil, err
	}
	defer c.release()
	if c.unsure.Load() {
		if err := c.sync(ctx); err != nil {
			return nil, err
		}
	}
	c.name, c.answer = cmd.Name, c.cfg.Answers[cmd.Name]
	p := &pending{name: c.name, answer: c.answer, final: make(chan outcome, 1), last: last}
	return p, c.transact(ctx, p, line)
}

// limit gives every command a time limit.
func (c *Client) limit(ctx context.Context) (context.Context, context.CancelFunc) {
	if _, ok := ctx.Deadline(); ok {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, c.cfg.Timeout)
}

func (c *Client) acquire(ctx context.Context, name string) error {
	select {
	case c.turn <- struct{}{}:
	case <-c.done:
		return c.err
	case <-ctx.Done():
		return timeout(ctx, name)
	}
	if err := c.Err(); err != nil {
		c.release()
		return err
	}
	return nil
}

func (c *Client) release() { <-c.turn }

// transact sends one line and waits for its final result code.
func (c *Client) transact(ctx context.Context, p *pending, line string) error {
	c.expect(p)
	c.unsure.Store(true)
	if err := c.write(ctx, line+"\r", line); err != nil {
		c.gaveUp()
		return c.failure(ctx, p.name, err)
	}
	var late error
	select {
	case out := <-p.final:
		return c.finish(p, out)
	case <-ctx.Done():
		late = timeout(ctx, p.name)
	case <-c.done:
		late = c.err
	}
	select {
	case out := <-p.final: // it came first: reading ends right behind the OK of Switch
		return c.finish(p, out)
	default:
		c.gaveUp()
		return late
	}
}

// gaveUp notes that an answer is due. Until the line is made sure of, its information lines are stale, not unsolicited.
func (c *Client) gaveUp() {
	c.due.CompareAndSwap(0, time.Now().UnixNano())
	c.expect(&pending{name: c.name, answer: c.answer, final: make(chan outcome, 1), sync: true})
}

// finish takes the final result code.
func (c *Client) finish(p *pending, out outcome) error {
	c.unsure.Store(errors.Is(out.err, ErrBabble))
	if p.last && out.err == nil {
		p.final <- out // for Switch
	}
	return out.err
}

// sync is Sync with the turn taken.
func (c *Client) sync(ctx context.Context) (err error) {
	defer func() {
		if err != nil {
			c.gaveUp()
		}
	}()
	p := &pending{name: c.name, answer: c.answer, final: make(chan outcome, 1), sync: true}
	c.expect(p)
	c.unsure.Store(true)
	for wait, heard := syncFirst, false; !heard; wait = min(2*wait, syncLast) {
		if err := c.write(ctx, "\x18\rAT\r", "AT"); err != nil {
			return c.failure(ctx, "AT", err)
		}
		if heard, err = c.heard(ctx, p, wait); err != nil {
			return err
		}
	}
	for heard := true; heard; {
		if heard, err = c.heard(ctx, p, syncQuiet); err != nil {
			return err
		}
	}
	c.expect(nil)
	c.unsure.Store(false)
	return nil
}

// heard waits for a final result code.
func (c *Client) heard(ctx context.Context, p *pending, wait time.Duration) (bool, error) {
	t := time.NewTimer(wait)
	defer t.Stop()
	select {
	case <-p.final:
		return true, nil
	case <-t.C:
		select {
		case <-p.final: // both are there: this process did not run for a while
			return true, nil
		case <-ctx.Done():
			return false, timeout(ctx, "AT")
		default:
			return false, nil
		}
	case <-ctx.Done():
		return false, timeout(ctx, "AT")
	case <-c.done:
		return false, c.err
	}
}

func (c *Client) expect(p *pending) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.pending = p
}

func (c *Client) write(ctx context.Context, octets, line string) error {
	if c.cfg.Trace != nil {
		c.cfg.Trace(false, line)
	}
	_, err := WriteContext(ctx, c.rw, []byte(octets))
	return err
}

// failure is the error for a Write that failed.
func (c *Client) failure(ctx context.Context, name string, err error) error {
	if ctx.Err() != nil {
		return timeout(ctx, name)
	}
	return fmt.Errorf("%w: %w", ErrClosed, err)
}

func timeout(ctx context.Context, name string) error {
	err := context.Cause(ctx)
	if errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("%w: %s: %w", ErrTimeout, name, err)
	}
	return fmt.Errorf("at: %s given up: %w", name, err)
}

// read takes lines until reading fails or Switch has its OK.
func (c *Client) read() {
	in := lineBuffer{ends: "\r\n"}
	buf := make([]byte, 4096)
	for {
		n, err := c.rw.Read(buf)
		for p := buf[:n]; len(p) > 0; {
			line, over, rest, complete := in.feed(p)
			if !complete {
				break
			}
			p = rest
			if !over && c.line(string(line), rest) {
				c.err = fmt.Errorf("%w: switched to another protocol", ErrClosed)
				close(c.done)
				return
			}
		}
		if err != nil {
			c.err = fmt.Errorf("%w: %w", ErrClosed, err)
			close(c.done)
			return
		}
	}
}

// line sorts one line: final result code, information line of the pending command, echo, unsolicited. It returns true
// after the OK of Switch.
func (c *Client) line(line string, rest []byte) (stop bool) {
	if line == "" || !printable(line) {
		return false
	}
	if c.cfg.Trace != nil {
		c.cfg.Trace(true, line)
	}
	if final, err := finalResult(line); final {
		return c.final(err, rest)
	}
	if startsWithAT(line) || c.information(line) {
		return false // an echo; no unsolicited result code starts with AT
	}
	if c.cfg.Unsolicited != nil {
		c.cfg.Unsolicited(line)
	}
	return false
}

func (c *Client) final(err error, rest []byte) (stop bool) {
	c.due.Store(0)
	c.mu.Lock()
	defer c.mu.Unlock()
	p := c.pending
	if p == nil {
		c.cfg.Log.Debug("final result code without a command")
		return false
	}
	select {
	case p.final <- outcome{err: err, rest: slices.Clone(rest)}:
	default: // sync has one unread already
	}
	if !p.sync {
		c.pending = nil
	}
	return p.last && err == nil
}

// information takes a line that bears a name of the pending command.
func (c *Client) information(line string) bool {
	name := ResultName(line)
	c.mu.Lock()
	defer c.mu.Unlock()
	p := c.pending
	if p == nil || name == "" || (name != p.name && name != p.answer) {
		return false
	}
	if p.sync {
		return true
	}
	if len(p.lines) == maxLines {
		p.final <- outcome{err: ErrBabble}
		c.pending = nil
		return true
	}
	p.lines = append(p.lines, line)
	return true
}

// failures are the final result codes of a modem beside ERROR and +CME ERROR: those of V.250 5.7.1 that end a call, and those
// of 27.005 and of makers that bear a number.
var failures = []string{"NO CARRIER", "NO DIALTONE", "NO DIAL TONE", "BUSY", "NO ANSWER", "+CMS ERROR:", "+EXT ERROR:"}

// finalResult reads a final result code, V.250 5.7.1 and 27.007 9.2, with blanks around it: err is nil for OK.
func finalResult(line string) (final bool, err error) {
	line = strings.Trim(line, " ")
	switch {
	case line == "OK":
		return true, nil
	case line == "ERROR":
		return true, fmt.Errorf("%w: ERROR", ErrFinal)
	}
	if cme, ok := strings.CutPrefix(line, "+CME ERROR:"); ok {
		return true, parseCME(cme)
	}
	for _, f := range failures {
		if line == f || strings.HasSuffix(f, ":") && strings.HasPrefix(line, f) {
			return true, fmt.Errorf("%w: %s", ErrFinal, line)
		}
	}
	return false, nil
}
