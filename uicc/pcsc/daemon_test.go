package pcsc

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"path/filepath"
	"sync"
	"testing"
)

// fakeName is the reader of the fake daemon.
const fakeName = "Fake 00 00"

// fakeDaemon plays pcscd with one reader: as pcscd 1.9 does, apart from the faults that a test sets.
type fakeDaemon struct {
	socket string
	ln     net.Listener
	tasks  sync.WaitGroup

	mu      sync.Mutex
	minor   int32 // of its protocol
	state   stateMessage
	stopped bool
	holder  net.Conn // the client that has the card
	waiting map[net.Conn]bool
	conns   map[net.Conn]bool
	log     []command
	left    []uint32 // the dispositions with which clients left the card
	card    func(apdu []byte) ([]byte, Code)
	// fault answers a command in place of the daemon where it returns true.
	fault func(conn net.Conn, cmd command) bool
}

func startFake(t *testing.T) *fakeDaemon {
	t.Helper()
	d := &fakeDaemon{
		socket:  filepath.Join(t.TempDir(), "comm"),
		minor:   4,
		waiting: make(map[net.Conn]bool),
		conns:   make(map[net.Conn]bool),
		card:    func([]byte) ([]byte, Code) { return hx("9000"), Success },
	}
	copy(d.state.Name[:], fakeName)
	d.state.State = stateAbsent
	ln, err := net.Listen("unix", d.socket)
	if err != nil {
		t.Fatal(err)
	}
	d.ln = ln
	d.tasks.Add(1)
	go func() {
		defer d.tasks.Done()
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			d.mu.Lock()
			if d.stopped {
				conn.Close()
			}
			d.conns[conn] = true
			d.mu.Unlock()
			d.tasks.Add(1)
			go d.serve(conn)
		}
	}()
	t.Cleanup(func() { d.stop(t) })
	return d
}

// stop ends the daemon and every connection.
func (d *fakeDaemon) stop(t *testing.T) {
	t.Helper()
	d.ln.Close()
	d.mu.Lock()
	d.stopped = true
	for conn := range d.conns {
		conn.Close()
	}
	d.mu.Unlock()
	done := make(chan struct{})
	go func() { d.tasks.Wait(); close(done) }()
	awaitEnd(t, "the daemon", done)
}

// insert puts a card with this ATR in, nil takes it out.
func (d *fakeDaemon) insert(atr []byte) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.state.State, d.state.ATRLength = stateAbsent, uint32(len(atr))
	if atr != nil {
		d.state.State = statePresent
	}
	copy(d.state.ATR[:], atr)
	d.state.Events++
	d.signal()
}

// unlist takes the reader off the list.
func (d *fakeDaemon) unlist() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.state = stateMessage{}
	d.signal()
}

func (d *fakeDaemon) signal() {
	for conn := range d.waiting {
		conn.Write(appendBody(nil, &eventMessage{}))
	}
	clear(d.waiting)
}

// set changes the daemon under its lock.
func (d *fakeDaemon) set(f func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	f()
}

// serve answers one client.
func (d *fakeDaemon) serve(conn net.Conn) {
	defer d.tasks.Done()
	defer func() {
		conn.Close()
		d.set(func() {
			delete(d.conns, conn)
			delete(d.waiting, conn)
			if d.holder == conn {
				d.holder = nil
			}
		})
	}()
	for {
		head, err := readHeader(conn)
		if err != nil {
			return
		}
		body := make([]byte, head.Size)
		if _, err := io.ReadFull(conn, body); err != nil {
			return
		}
		d.mu.Lock()
		d.log = append(d.log, head.Command)
		fault := d.fault
		d.mu.Unlock()
		if fault != nil && fault(conn, head.Command) {
			continue
		}
		if err := d.answer(conn, head.Command, body); err != nil {
			return
		}
	}
}

// readHeader reads the header of a request.
func readHeader(r io.Reader) (header, error) {
	b := make([]byte, 8)
	_, err := io.ReadFull(r, b)
	return header{binary.NativeEndian.Uint32(b), command(binary.NativeEndian.Uint32(b[4:]))}, err
}

var errEnd = errors.New("end of the connection")

func (d *fakeDaemon) answer(conn net.Conn, cmd command, body []byte) error {
	if cmd == cmdTransmit {
		return d.transmit(conn, body)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	switch cmd {
	case cmdVersion:
		return reply(conn, body, func(m *versionMessage) {
			if m.Minor != d.minor {
				m.RV = ErrServiceStopped
			}
			m.Minor = d.minor
		})
	case cmdEstablishContext:
		return reply(conn, body, func(m *establishMessage) { m.Context = 77 })
	case cmdReleaseContext:
		return reply(conn, body, func(m *releaseMessage) {
			if m.Context != 77 {
				m.RV = ErrInvalidHandle
			}
		})
	case cmdConnect:
		return reply(conn, body, func(m *connectMessage) { d.connect(conn, m) })
	case cmdReconnect:
		return reply(conn, body, func(m *reconnectMessage) { m.ActiveProtocol = d.protocol() })
	case cmdDisconnect:
		d.holder = nil
		return reply(conn, body, func(m *disconnectMessage) { d.left = append(d.left, m.Disposition) })
	case cmdGetReadersState, cmdWaitReaderStateChange:
		d.waiting[conn] = cmd == cmdWaitReaderStateChange
		if !d.waiting[conn] {
			delete(d.waiting, conn)
		}
		list := [maxReaders]stateMessage{3: d.state}
		_, err := conn.Write(appendBody(nil, &list))
		return err
	}
	return errEnd
}

func (d *fakeDaemon) protocol() uint32 {
	if d.state.ATRLength == uint32(len(atrT1)) {
		return protocolT1
	}
	return protocolT0
}

func (d *fakeDaemon) connect(conn net.Conn, m *connectMessage) {
	switch {
	case m.Reader != d.state.Name:
		m.RV = ErrUnknownReader
	case d.state.State != statePresent:
		m.RV = ErrNoSmartcard
	case d.holder != nil || m.ShareMode != shareExclusive:
		m.RV = ErrSharingViolation
	default:
		d.holder, m.Card, m.ActiveProtocol = conn, 5, d.protocol()
	}
}

// transmit runs the card outside of the lock, for it may wait.
func (d *fakeDaemon) transmit(conn net.Conn, body []byte) error {
	m, err := parseBody[transmitMessage](body)
	if err != nil {
		return err
	}
	apdu := make([]byte, m.SendLength)
	if _, err := io.ReadFull(conn, apdu); err != nil {
		return err
	}
	d.mu.Lock()
	card, proto := d.card, d.protocol()
	d.mu.Unlock()
	rapdu, rv := card(apdu)
	if m.SendProtocol != proto {
		rapdu, rv = nil, ErrProtoMismatch
	}
	m.RV, m.RecvLength = rv, uint32(len(rapdu))
	_, err = conn.Write(append(appendBody(nil, &m), rapdu...))
	return err
}

// reply parses the request, has it changed into the answer, and sends that.
func reply[T bodyOf](conn net.Conn, body []byte, change func(*T)) error {
	m, err := parseBody[T](body)
	if err != nil {
		return err
	}
	change(&m)
	_, err = conn.Write(appendBody(nil, &m))
	return err
}

// cancelWhen gives a context that ends when ch is closed.
func cancelWhen(t *testing.T, ch <-chan struct{}) context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		select {
		case <-ch:
			cancel()
		case <-ctx.Done():
		}
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	return ctx
}
