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
)

// HandlerFunc carries out one command. lines are its information lines without CR LF, each with its name in front. With
// a nil error the server answers OK, with an error that wraps a CMEError the +CME ERROR that the client asked for by
// +CMEE, with any other ERROR. ctx ends with Serve's context; while a handler runs, nothing is read from the line.
type HandlerFunc func(ctx context.Context, c Command) (lines []string, err error)

// ErrSwitch is returned by a handler whose command, once it is answered by OK, gives the line to another protocol:
// Serve then returns *Switched.
var ErrSwitch = errors.New("at: switch the line to another protocol")

// Switched is what Serve returns after a handler's ErrSwitch.
type Switched struct {
	Rest []byte // octets that came behind the CR of the command: they belong to the other protocol
}

func (*Switched) Error() string { return "at: line switched to another protocol" }

// maxNotices bounds the unsolicited result codes that wait for the end of a transaction.
const maxNotices = 64

// ServerConfig is the set-up of a Server.
type ServerConfig struct {
	Echo  bool                             // echo at the start of a line, V.250 6.2.4; E0 and E1 change it
	Name  string                           // what I and +GMI answer; "": they are unknown
	Trace func(received bool, line string) // every line as it was received or sent, credentials included; may be nil
	Log   *slog.Logger                     // nil: no log
	// Pace, if not nil, is called before each line is answered and may take its time, for nothing is read meanwhile: that bounds
	// what a peer can ask for. An error ends Serve.
	Pace func(ctx context.Context) error
}

// Server answers commands: AT alone, E0 and E1, I and +GMI, the S-parameters S3 to S5, +CMEE, +CLAC, the test form of each
// command with its usage, and what is registered. An unknown command or a line that breaks the grammar gets ERROR. There is
// exactly one final result code for each line that starts with AT, once it is edited (V.250 5.2.2), and ends with CR, and one
// for a line that is too long; other lines get none.
type Server struct {
	cfg  ServerConfig
	cmds map[string]command

	mu  sync.Mutex
	now *serving // the line that is being served, nil when none
}

type command struct {
	handle HandlerFunc
	usage  string
}

// NewServer makes a server with its own commands.
func NewServer(cfg ServerConfig) *Server {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	s := &Server{cfg: cfg, cmds: make(map[string]command)}
	s.cmds["+CMEE"] = command{usage: "(0-2)"}
	if cfg.Name != "" {
		s.cmds["+GMI"] = command{}
	}
	s.cmds["+CLAC"] = command{}
	return s
}

// Handle registers a command before Serve. name is upper case with its prefix, "%GETNET". usage is what the test form
// answers behind "<name>: ", the values in the way of 27.007 "(1-7),(0-255)" or any text of octets 20..7e; with an empty
// usage the test form answers OK alone. The handler gets the other three forms. A bad name or one taken panics: it is a
// mistake in the program.
func (s *Server) Handle(name string, h HandlerFunc, usage string) {
	c := Command{Name: name}
	if !c.extended() && !c.basic() {
		panic("at: bad command name " + name)
	}
	if _, taken := s.cmds[name]; taken || name == "E" || name == "I" || c.parameter() {
		panic("at: command registered twice: " + name)
	}
	s.cmds[name] = command{handle: h, usage: usage}
}

// Serve answers the commands on rw until a read or write fails, ctx ends, or a handler switches the line: it returns the
// failure, the cause of ctx, or *Switched. Echo and +CMEE start anew with each Serve. To end a Read or Write that waits,
// rw must have SetDeadline or else Close. Unless it returned *Switched, Serve has used it and rw is of no more use. A
// Server serves one line at a time.
func (s *Server) Serve(ctx context.Context, rw io.ReadWriter) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	v := &serving{Server: s, rw: rw, in: editor{erase: backspace}, echo: s.cfg.Echo, wake: make(chan struct{}, 1)}
	s.mu.Lock()
	busy := s.now != nil
	if !busy {
		s.now = v
	}
	s.mu.Unlock()
	if busy {
		return errors.New("at: the server serves another line")
	}
	stop := context.AfterFunc(ctx, func() { interrupt(rw) })
	var notifier sync.WaitGroup
	notifier.Go(func() {
		if err := v.notify(ctx); err != nil {
			cancel(err)
		}
	})
	err := v.read(ctx)
	s.mu.Lock()
	s.now = nil
	s.mu.Unlock()
	var sw *Switched
	if errors.As(err, &sw) {
		// Nothing is being written, and the line must stay usable: end the notifier without the interrupt.
		stop()
	}
	cause := context.Cause(ctx)
	cancel(nil)
	notifier.Wait()
	if sw == nil && cause != nil {
		return cause
	}
	return err
}

// Notify sends an unsolicited result code as soon as no transaction is running. It never blocks: without a line the code
// is dropped, and so is the oldest of those waiting when there are more than 64, or a line that is not one line of text.
func (s *Server) Notify(line string) {
	if !validLine(line) {
		s.cfg.Log.Error("unsolicited result code is not one line of text", "octets", len(line))
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	v := s.now
	if v == nil {
		return
	}
	if len(v.notices) == maxNotices {
		s.cfg.Log.Warn("unsolicited result code dropped: the line does not take them", "name", ResultName(v.notices[0]))
		v.notices = slices.Delete(v.notices, 0, 1)
	}
	v.notices = append(v.notices, line)
	select {
	case v.wake <- struct{}{}:
	default:
	}
}

// validLine reports whether a line can go out as a result code.
func validLine(line string) bool { return line != "" && len(line) <= MaxLine && printable(line) }

// serving is the state of one line.
type serving struct {
	*Server
	rw   io.ReadWriter
	in   editor
	echo bool
	cmee uint64 // 0: ERROR, 1: number, 2: text (27.007 9.1)

	tx       sync.Mutex // held through a transaction, and by the notifier while it writes
	switched bool       // under tx: the line belongs to another protocol

	notices []string      // under Server.mu
	wake    chan struct{} // there are notices
}

// read runs the transactions one after the other.
func (v *serving) read(ctx context.Context) error {
	buf := make([]byte, 4096)
	for {
		n, err := v.rw.Read(buf)
		for p := buf[:n]; len(p) > 0; {
			line, over, rest, complete := v.in.feed(p)
			if werr := v.echoBack(v.in.shown); werr != nil {
				return werr
			}
			p = rest
			if !complete {
				break
			}
			if terr := v.transact(ctx, string(line), over); terr != nil {
				var sw *Switched
				if errors.As(terr, &sw) {
					sw.Rest = slices.Clone(rest)
				}
				return terr
			}
		}
		if err != nil {
			return err
		}
	}
}

// echoBack writes what the line of a person's terminal is to show.
func (v *serving) echoBack(shown []byte) error {
	if !v.echo || len(shown) == 0 {
		return nil
	}
	v.tx.Lock()
	defer v.tx.Unlock()
	_, err := v.rw.Write(shown)
	return err
}

// transact answers one line.
func (v *serving) transact(ctx context.Context, line string, over bool) error {
	if v.cfg.Pace != nil {
		if err := v.cfg.Pace(ctx); err != nil {
			return err
		}
	}
	v.tx.Lock()
	defer v.tx.Unlock()
	if final, _ := finalResult(line); final {
		v.echo = false // a result code of ours came back: an echo of it would go round for ever
	}
	if !over && !startsWithAT(line) && !strings.EqualFold(line, "A/") {
		return nil
	}
	if err := v.writeNotices(ctx); err != nil { // what was to be said before the command is said before its answer
		return err
	}
	v.trace(true, line)
	lines, err := v.execute(ctx, line, over)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	v.switched = errors.Is(err, ErrSwitch)
	if v.switched {
		err = nil
	}
	if werr := v.answer(append(lines, v.final(err))...); werr != nil {
		return werr
	}
	if v.switched {
		return new(Switched)
	}
	return nil
}

// execute runs the commands of a line up to the first that fails, V.250 5.5.
func (v *serving) execute(ctx context.Context, line string, over bool) (lines []string, err error) {
	if over {
		return nil, fmt.Errorf("%w: line longer than %d octets", ErrSyntax, MaxLine)
	}
	cmds, err := ParseLine(line) // A/ (repeat the last line, V.250 5.2.4) is no line that it takes
	if err != nil {
		return nil, err
	}
	for _, c := range cmds {
		more, err := v.run(ctx, c)
		for _, l := range more {
			if !validLine(l) {
				return nil, fmt.Errorf("at: information line of %s is not one line of text", c.Name)
			}
		}
		lines = append(lines, more...)
		if err != nil {
			if !errors.Is(err, ErrSwitch) {
				v.cfg.Log.Debug("command failed", "command", c.Name, "error", err)
			}
			return lines, err
		}
	}
	return lines, nil
}

// final is the final result code for err, 27.007 9.2.
func (v *serving) final(err error) string {
	var cme CMEError
	switch {
	case err == nil:
		return "OK"
	case v.cmee == 0 || !errors.As(err, &cme):
		return "ERROR"
	case v.cmee == 1:
		return fmt.Sprintf("+CME ERROR: %d", int(cme))
	}
	return "+CME ERROR: " + cme.Text()
}

// answer writes each line as <CR><LF>text<CR><LF>, V.250 5.7.1, all in one Write.
func (v *serving) answer(lines ...string) error {
	var b strings.Builder
	for _, l := range lines {
		v.trace(false, l)
		b.WriteString("\r\n" + l + "\r\n")
	}
	_, err := io.WriteString(v.rw, b.String())
	return err
}

func (v *serving) trace(received bool, line string) {
	if v.cfg.Trace != nil {
		v.cfg.Trace(received, line)
	}
}

// notify writes the unsolicited result codes between transactions, until ctx ends or the line is switched.
func (v *serving) notify(ctx context.Context) error {
	for {
		select {
		case <-v.wake:
		case <-ctx.Done():
			return nil
		}
		v.tx.Lock()
		err := v.writeNotices(ctx)
		v.tx.Unlock()
		if err != nil {
			return err
		}
	}
}

// writeNotices writes the unsolicited result codes that wait. The caller holds tx.
func (v *serving) writeNotices(ctx context.Context) error {
	v.mu.Lock()
	lines := v.notices
	v.notices = nil
	v.mu.Unlock()
	if v.switched || ctx.Err() != nil || len(lines) == 0 {
		return nil
	}
	return v.answer(lines...)
}
