package bip_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"bipd/bip"
	"bipd/cat"
	"bipd/trace"
	"bipd/uicc"
)

// This file plays two recorded sessions of real cards against the gateway, on a virtual clock: the card's part as it was
// recorded, the far end's and the radio's part as the recording shows that they acted.

// replayLine is one recorded exchange.
type replayLine struct {
	Seq                          int
	T                            float64 `json:"t_s"`
	Kind, Command, CAPDU, RAPDU  string
	at                           time.Duration
	capdu, rapdu                 []byte // rapdu without the status word
	sw                           uicc.StatusWord
	p1                           byte
	optional, announces, timerUp bool
}

// deviation is where our terminal and the recorded one differ, and why.
type deviation struct {
	// answer is what ours answers, in hex without comprehension bits; empty where the line is no terminal response.
	answer func() []byte
	// later: ours sends this envelope after the commands that wait; never: it does not send it.
	later, never bool
	why          string
}

// deviations, by line.
var (
	replayA = map[int]deviation{
		84:  {later: true, why: "sent while a command waits (91 0F): ours fetches first, so the card answers it 9000"},
		241: {later: true, why: "as line 84"},
	}
	dropped = deviation{never: true, why: "Channel status (dropped) sent before the card has read the announced data: ours comes " +
		"after the last byte is read (7.5.11), and the card closes the channel before that"}
	lost = deviation{answer: func() []byte { return receiveResponse(cat.MaxReceive, lastBlock-cat.MaxReceive) },
		why: "announced data answered with 3A 02 after the link dropped: ours hands them over, and so CLOSE CHANNEL, which " +
			"comes while some are unread, is answered 00"}
	replayB = map[int]deviation{59: dropped, 104: dropped, 148: dropped, 61: lost, 106: lost, 150: lost}
)

// lastBlock is how much the far end sent before the links of the second recording dropped: more than 255, so it was announced
// as FF; the recording does not show it. The same step of the first recording has this length.
const lastBlock = 418

// receiveResponse is the answer to RECEIVE DATA, command number 1, without comprehension bits.
func receiveResponse(n, left int) []byte {
	c := cat.Command{Details: cat.CommandDetails{Number: 1, Type: cat.TypeReceiveData}}
	return withoutCR(cat.Respond(c, cat.OK, cat.ChannelDataObject(replayRamp(n)), cat.ChannelDataLengthObject(left)).Append(nil))
}

func TestReplayCardA(t *testing.T) {
	r := replayRecording(t, "card-a.jsonl", replayA, nil)
	r.check(96, 95, 47, 2, []string{
		"udp 127.0.0.53:53", "tcp 127.0.0.10:443", "udp 127.0.0.53:53", "tcp 127.0.0.11:443",
	})
}

func TestReplayCardB(t *testing.T) {
	r := replayRecording(t, "card-b.jsonl", replayB, []cat.EventCode{cat.EventLocationStatus, cat.EventDataAvailable, cat.EventChannelStatus})
	r.check(65, 65, 20-3, 0, []string{
		"udp 127.0.0.53:53", "tcp 127.0.0.10:443", "tcp 127.0.0.11:443", "tcp 127.0.0.12:443",
	})
}

// replayRecording plays a recording from its first line to its last.
func replayRecording(t *testing.T, file string, deviations map[int]deviation, events []cat.EventCode) *replayCard {
	lines := loadReplay(t, file)
	if events == nil {
		events = []cat.EventCode{cat.EventLocationStatus, cat.EventDataAvailable, cat.EventChannelStatus, cat.EventNetworkRejection}
	}
	var r *replayCard
	synctest.Test(t, func(t *testing.T) {
		r = &replayCard{t: t, lines: lines, deviations: deviations, fetched: map[int]bool{}}
		// The recordings begin in the middle of a card session: the event list was set before.
		r.prelude = cat.NewCommand(1, 0, &cat.SetUpEventList{Events: events}).Append(nil)
		for !r.finished {
			r.runSession(t)
		}
	})
	return r
}

// runSession serves the card until the recording ends, or its terminal resets the card of its own accord.
func (r *replayCard) runSession(t *testing.T) {
	r.pause = make(chan struct{})
	ctx, cancel := context.WithCancel(t.Context())
	s := cat.NewSession(uicc.Settle(r), cat.Config{Name: "replay", PollInterval: time.Second})
	g := bip.New(s, bip.Config{Card: "replay", Router: r})
	g.Register(s)
	s.Handle(&cat.LocalInfo{IMEI: "000000000000000", Now: time.Now}, cat.TypeProvideLocalInformation)
	s.AddSource(r)
	r.session = s
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	select {
	case <-r.pause:
	case err := <-ended:
		t.Fatalf("the session ended before line %d: %v", r.lines[r.at].Seq, err)
	case <-time.After(time.Hour):
		t.Errorf("line %d did not come", r.lines[r.next()].Seq)
		r.finished = true
	}
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("the session ended with %v", err)
	}
	g.Close()
	for _, c := range r.conns {
		if !c.isClosed() {
			t.Errorf("the connection to %v is still open", c.remote)
		}
	}
}

// loadReplay reads a recording that lies beside the repository, or skips the test.
func loadReplay(t *testing.T, file string) []replayLine {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for _, err = os.Stat(filepath.Join(dir, "go.mod")); err != nil; _, err = os.Stat(filepath.Join(dir, "go.mod")) {
		if dir = filepath.Dir(dir); dir == "/" {
			t.Fatal("no go.mod above the test's directory")
		}
	}
	path := filepath.Join(dir, "..", "shared", "vectors", "sessions", file)
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		t.Skipf("the recordings are not beside this repository: no %s", path)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var lines []replayLine
	for in := bufio.NewScanner(f); in.Scan(); {
		var l replayLine
		if err := json.Unmarshal(in.Bytes(), &l); err != nil {
			t.Fatal(err)
		}
		l.decode(t)
		lines = append(lines, l)
	}
	return lines
}

func (l *replayLine) decode(t *testing.T) {
	t.Helper()
	var err1, err2, err3 error
	var rapdu []byte
	l.capdu, err1 = hex.DecodeString(l.CAPDU)
	rapdu, err2 = hex.DecodeString(l.RAPDU)
	l.rapdu, l.sw, err3 = uicc.SplitResponse(rapdu)
	if err := errors.Join(err1, err2, err3); err != nil {
		t.Fatalf("line %d: %v", l.Seq, err)
	}
	l.at = time.Duration(l.T * float64(time.Second))
	l.p1 = l.capdu[2]
	_, l.announces = l.sw.Proactive()
	// How often to poll is the terminal's own affair, unless something comes of it.
	l.optional = l.Kind == "status" && (l.sw.SW1() == 0x6C || l.p1 == 0 && !l.announces)
	l.timerUp = l.Command == "TIMER EXPIRATION"
}

// replayCard is the card of a recording, and the network and radio around its terminal. What it keeps belongs to the
// session's goroutine, except the connections.
type replayCard struct {
	t          *testing.T
	lines      []replayLine
	deviations map[int]deviation
	session    *cat.Session
	pause      chan struct{} // closed when the session is to end
	finished   bool

	prelude    []byte // the command that is given first, as its answer shows
	start      time.Time
	at         int // line that is to be played next
	announced  bool
	refreshing bool           // the card has asked for its reset
	resets     int            // by the session
	profiles   int            // recorded TERMINAL PROFILE lines that were played
	fetched    map[int]bool   // by line
	compared   int            // terminal responses
	enveloped  int            // envelopes
	current    cat.Command    // fetched, not answered yet
	late       []replayLine   // envelopes that ours sends later
	due        []cat.Envelope // what the radio has to tell
	toSend     []byte         // stored by SEND DATA
	expect     []byte         // what the far end is to have got
	dialled    []string
	conns      []*replayConn
}

// check compares what was played with what the recording has.
func (r *replayCard) check(fetches, responses, envelopes, profiles int, dialled []string) {
	t := r.t
	t.Helper()
	for _, l := range r.lines {
		if l.Kind == "fetch" && !r.fetched[l.Seq] {
			t.Errorf("line %d (%s) was not played", l.Seq, l.Command)
		}
	}
	if len(r.fetched) != fetches || r.compared != responses || r.enveloped != envelopes || r.profiles != profiles {
		t.Errorf("%d FETCH, %d TERMINAL RESPONSE, %d ENVELOPE and %d TERMINAL PROFILE were played, want %d, %d, %d and %d",
			len(r.fetched), r.compared, r.enveloped, r.profiles, fetches, responses, envelopes, profiles)
	}
	if want := fetches - responses; r.resets != want { // a REFRESH that wants a reset has no response
		t.Errorf("%d resets, want %d", r.resets, want)
	}
	if !slices.Equal(r.dialled, dialled) {
		t.Errorf("connections %v, want %v", r.dialled, dialled)
	}
	for line, d := range r.deviations {
		t.Logf("line %d: %s", line, d.why)
	}
}

func (r *replayCard) ATR() []byte  { return []byte{0x3B, 0x00} }
func (r *replayCard) Close() error { return nil }
func (r *replayCard) Reset(context.Context, uicc.ResetKind) error {
	if !r.refreshing {
		r.t.Error("reset without REFRESH")
	}
	r.resets++
	r.refreshing, r.announced = false, false
	return nil
}

func (r *replayCard) now() time.Duration { return time.Since(r.start) }

// next is the line that must come next: how often the terminal polls is its own affair, and so is whether it polls again
// where a command is announced already.
func (r *replayCard) next() int {
	i := r.at
	for i < len(r.lines) && (r.lines[i].optional || r.lines[i].Kind == "status" && r.lines[i].p1 == 0 && r.announced) {
		i++
	}
	return i
}

func (r *replayCard) Transmit(ctx context.Context, capdu []byte) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	cmd, err := uicc.ParseCommand(capdu)
	if err != nil {
		return nil, err
	}
	switch {
	case cmd.INS == 0xA4 && bytes.Equal(cmd.Data, []byte{0x2F, 0x00}):
		return []byte{0x6A, 0x82}, nil
	case cmd.INS == 0xA4:
		return []byte{0x90, 0x00}, nil
	case cmd.INS == 0xF2 && cmd.P2 == 0x0C: // real cards answer both ways; this one so that the recorded form is used
		return []byte{0x6A, 0x86}, nil
	case cmd.INS == 0xF2 && cmd.Le != 0x45:
		return []byte{0x6C, 0x45}, nil
	case cmd.INS == 0xF2:
		return r.reply(make([]byte, 0x45), r.status(cmd.P1)), nil
	case r.prelude != nil:
		return r.playPrelude(cmd), nil
	case cmd.INS == 0x10:
		return r.reply(nil, r.profile(cmd.Data)), nil
	case cmd.INS == 0x12:
		return r.fetch(capdu), nil
	case cmd.INS == 0x14:
		return r.reply(nil, r.response(cmd.Data)), nil
	case cmd.INS == 0xC2:
		return r.reply(nil, r.envelope(cmd.Data)), nil
	}
	r.t.Errorf("the card was sent %X", capdu)
	return []byte{0x6D, 0x00}, nil
}

func (r *replayCard) reply(data []byte, sw uicc.StatusWord) []byte {
	return append(data, sw.SW1(), sw.SW2())
}

// playPrelude gives the command that comes before the recording.
func (r *replayCard) playPrelude(cmd uicc.Command) []byte {
	switch cmd.INS {
	case 0x10:
		return []byte{0x91, byte(len(r.prelude))}
	case 0x12:
		return append(slices.Clone(r.prelude), 0x90, 0x00)
	}
	if got, _, err := cat.ParseResponse(cmd.Data); err != nil || cmd.INS != 0x14 || got.Result.General != cat.ResultOK {
		r.t.Errorf("the prelude was answered %X", cmd.Data)
	}
	r.prelude, r.start = nil, time.Now()
	return []byte{0x90, 0x00}
}

// take takes the line that must come next, after the time at which it was recorded.
func (r *replayCard) take(kind string) *replayLine {
	r.checkSent()
	i := r.next()
	if i == len(r.lines) || r.lines[i].Kind != kind {
		r.t.Errorf("%s at %v, want line %d", kind, r.now(), i+1)
		return nil
	}
	l := &r.lines[i]
	time.Sleep(l.at - r.now())
	r.at, r.announced = i+1, l.announces
	return l
}

func (r *replayCard) status(p1 byte) uicc.StatusWord {
	if r.prelude != nil {
		return uicc.StatusWord(0x9100 + len(r.prelude))
	}
	if r.current.Body != nil {
		return uicc.SWOK
	}
	if i := r.next(); i < len(r.lines) && r.lines[i].Kind == "status" {
		if l := r.lines[i]; l.p1 == p1 && (p1 != 0 || r.now() >= l.at-time.Second) {
			sw := r.take("status").sw
			r.arrange()
			return sw
		}
	}
	if p1 != 0 {
		r.t.Errorf("STATUS %02X at %v", p1, r.now())
	}
	return uicc.SWOK
}

func (r *replayCard) profile(data []byte) uicc.StatusWord {
	l := r.take("terminal_profile")
	if l == nil {
		return uicc.SWOK
	}
	if !bytes.Equal(data, r.session.Profile()) {
		r.t.Errorf("line %d: TERMINAL PROFILE %X", l.Seq, data)
	}
	r.profiles++
	return l.sw
}

func (r *replayCard) fetch(capdu []byte) []byte {
	l := r.take("fetch")
	if l == nil {
		return []byte{0x6F, 0x00}
	}
	if !bytes.Equal(capdu, l.capdu) {
		r.t.Errorf("line %d: %X, want %X", l.Seq, capdu, l.capdu)
	}
	cmd, err := cat.ParseCommand(l.rapdu)
	if err != nil {
		r.t.Errorf("line %d: %v", l.Seq, err)
	}
	r.fetched[l.Seq] = true
	if cmd.Details.Type == cat.TypeRefresh {
		r.refreshing = true
	} else {
		r.current = cmd
	}
	return append(slices.Clone(l.rapdu), 0x90, 0x00)
}

// response compares the answer with the recorded one.
func (r *replayCard) response(data []byte) uicc.StatusWord {
	l := r.take("terminal_response")
	if l == nil {
		return uicc.SWTechnicalProblem
	}
	got, want := withoutCR(data), withoutCR(l.capdu[5:])
	if d, ok := r.deviations[l.Seq]; ok {
		want = d.answer()
	}
	if r.current.Details.Type == cat.TypeProvideLocalInformation && len(got) == len(want) {
		got = append(slices.Clone(got[:len(got)-8]), want[len(want)-8:]...) // the recorded identity is blotted out
	}
	if !bytes.Equal(got, want) {
		r.t.Errorf("line %d (%s):\n got %X\nwant %X", l.Seq, l.Command, got, want)
	}
	r.compared++
	if send, ok := r.current.Body.(*cat.SendData); ok {
		r.toSend = append(r.toSend, send.Data...)
		if r.current.Details.Qualifier == cat.SendImmediately {
			r.expect, r.toSend = r.toSend, nil
		}
	}
	r.current = cat.Command{}
	r.arrange()
	return l.sw
}

// envelope compares an envelope with the recorded one, or with one that ours sends later.
func (r *replayCard) envelope(data []byte) uicc.StatusWord {
	r.enveloped++
	if len(r.late) > 0 && bytes.Equal(withoutCR(data), withoutCR(r.late[0].capdu[5:])) {
		r.late = r.late[1:]
		return uicc.SWOK
	}
	l := r.take("envelope")
	if l == nil {
		return uicc.SWOK
	}
	if got, want := withoutCR(data), withoutCR(l.capdu[5:]); !bytes.Equal(got, want) {
		r.t.Errorf("line %d (%s):\n got %X\nwant %X", l.Seq, l.Command, got, want)
	}
	r.arrange()
	return l.sw
}

// arrange has the network or the radio do what leads to the next line, at the time at which that was recorded.
func (r *replayCard) arrange() {
	i := r.next()
	if i == len(r.lines) {
		r.finished = true
		close(r.pause)
		return
	}
	l := r.lines[i]
	d := r.deviations[l.Seq]
	switch {
	case l.Kind == "status" && l.p1 == 0x02 && !r.refreshing: // its terminal ends the card session for a reset
		r.at = i + 1
		time.AfterFunc(l.at-r.now(), func() { close(r.pause) })
	case l.Kind != "envelope", l.timerUp:
	case d.never:
		r.last().drop()
		synctest.Wait()
		r.at = i + 1
		r.arrange()
	case l.Command == "EVENT DOWNLOAD - DATA AVAILABLE":
		block := r.block(i)
		time.AfterFunc(l.at-r.now(), func() {
			r.session.Post(func() { // so that all of the block is in the buffer when the card is told of it
				r.last().push(block)
				synctest.Wait()
			})
		})
	default:
		e, err := cat.ParseEnvelope(l.capdu[5:])
		if err != nil {
			r.t.Errorf("line %d: %v", l.Seq, err)
		}
		if d.later {
			r.late, r.at = append(r.late, l), i+1
			r.due = append(r.due, e)
			r.arrange()
			return
		}
		time.AfterFunc(l.at-r.now(), func() { r.session.Post(func() { r.due = append(r.due, e) }) })
	}
}

// block is what the far end sent before the Data available in line i: what the card reads until it does something else.
func (r *replayCard) block(i int) []byte {
	var b []byte
	for _, l := range r.lines[i+1:] {
		switch {
		case l.Kind == "terminal_response" && l.Command == "RECEIVE DATA":
			resp, _, err := cat.ParseResponse(l.capdu[5:])
			if err != nil {
				r.t.Errorf("line %d: %v", l.Seq, err)
			}
			if data, ok := cat.Find(resp.Objects, cat.TagChannelData); ok {
				b = append(b, data.Value...)
			} else {
				b = append(append(b, replayRamp(cat.MaxReceive)...), replayRamp(lastBlock-cat.MaxReceive)...)
			}
		case l.Command != "RECEIVE DATA" && !r.deviations[l.Seq].never:
			return b
		}
	}
	return b
}

// The radio: a source of the recorded events.

func (r *replayCard) NextEvent() (cat.Due, bool) {
	if len(r.due) == 0 {
		return cat.Due{}, false
	}
	return cat.Due{Envelope: r.due[0], Taken: func() { r.due = r.due[1:] }}, true
}

func (r *replayCard) ChainEnded() {}
func (r *replayCard) CardReset()  { r.due = nil }

// The network: a bearer whose far ends are in the test.

func (r *replayCard) Route(bip.Request) (bip.Bearer, error) { return r, nil }
func (r *replayCard) Method() trace.Method                  { return trace.Method1 }

func (r *replayCard) DNSServers(context.Context, bip.Request) ([]netip.Addr, error) {
	dns := netip.MustParseAddr("127.0.0.53")
	return []netip.Addr{dns, dns}, nil
}

func (r *replayCard) Prepare(_ context.Context, q bip.Request) bip.Dialer {
	r.dialled = append(r.dialled, fmt.Sprintf("%s %v", q.Network, q.Remote))
	c := &replayConn{remote: q.Remote, datagrams: q.Network == "udp"}
	c.change.L = &c.mu
	r.conns = append(r.conns, c)
	return bip.DialerFunc(func(context.Context) (net.Conn, error) {
		if c.datagrams {
			return c, nil
		}
		return replayStream{c}, nil
	})
}

func (r *replayCard) last() *replayConn { return r.conns[len(r.conns)-1] }

// checkSent compares what the far end got since the last SEND DATA that was to be sent at once.
func (r *replayCard) checkSent() {
	if r.expect == nil {
		return
	}
	synctest.Wait()
	if got := r.last().taken(); len(got) != 1 || !bytes.Equal(got[0], r.expect) {
		r.t.Errorf("before line %d the far end got %X, want %X at once", r.lines[r.next()].Seq, got, r.expect)
	}
	r.expect = nil
}

// replayConn is a connection with its far end: push and drop are what that does.
type replayConn struct {
	net.Conn  // nil: the methods that are missing are not used
	remote    netip.AddrPort
	datagrams bool

	mu         sync.Mutex
	change     sync.Cond
	in, out    [][]byte
	eof, ended bool
}

// replayStream is one that can end its own direction.
type replayStream struct{ *replayConn }

func (c *replayConn) LocalAddr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1} }

func (c *replayConn) Read(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(c.in) == 0 && !c.eof && !c.ended {
		c.change.Wait()
	}
	switch {
	case c.ended:
		return 0, net.ErrClosed
	case len(c.in) == 0:
		return 0, io.EOF
	}
	n := copy(p, c.in[0])
	if c.in[0] = c.in[0][n:]; c.datagrams || len(c.in[0]) == 0 {
		c.in = c.in[1:]
	}
	return n, nil
}

func (c *replayConn) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.out = append(c.out, slices.Clone(p))
	return len(p), nil
}

func (c *replayConn) set(f func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f()
	c.change.Broadcast()
}

func (c *replayConn) push(b []byte)          { c.set(func() { c.in = append(c.in, b) }) }
func (c *replayConn) drop()                  { c.set(func() { c.eof = true }) }
func (c *replayConn) Close() error           { c.set(func() { c.ended = true }); return nil }
func (c replayStream) CloseWrite() error     { c.drop(); return nil } // the far end closes in return
func (c *replayConn) isClosed() (ended bool) { c.set(func() { ended = c.ended }); return ended }

func (c *replayConn) taken() (out [][]byte) {
	c.set(func() { out, c.out = c.out, nil })
	return out
}

// replayRamp is the payload of the recordings: byte i is i mod 251, from 0 in each object.
func replayRamp(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i % 251)
	}
	return b
}

// withoutCR gives a terminal response, or the inside of an envelope behind its tag, with b8 of every tag clear.
func withoutCR(b []byte) []byte {
	var head []byte
	if len(b) > 2 && b[0] >= 0xD0 && b[0] <= 0xDF {
		head, b = b[:1], b[2:]
	}
	tlvs, err := cat.ParseTLVs(b)
	if err != nil {
		return []byte(strings.ToUpper(err.Error()))
	}
	for i := range tlvs {
		tlvs[i].CR = false
	}
	return cat.AppendTLVs(slices.Clone(head), tlvs)
}
