package softuicc

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"time"

	"bipd/cat"
)

// rxLimit bounds the received octets that a connection keeps for its reader.
const rxLimit = 64 << 10

// Conn is a connection over a BIP channel. It is safe for concurrent use, as a net.Conn has to be. A TCP connection ends
// with io.EOF when the terminal reports the link dropped and all data are read; with another error when data were lost.
// Over UDP one Write is one datagram and one Read returns one, cut to its buffer; a datagram ends where the terminal
// says that nothing remains.
type Conn struct {
	tk      *Toolkit
	params  DialParams
	channel int
	granted int // Tx buffer of the terminal
	udp     bool

	writing  sync.Mutex // held by the Write under way
	readEnd  deadline
	writeEnd deadline

	// Guarded by the card's lock.
	rx          []byte // received octets; of UDP the datagram under way
	datagrams   [][]byte
	unread      int  // octets that the terminal has more, as far as it told; 255 = that or more
	receiving   bool // a RECEIVE DATA is on its way
	established bool
	dropped     bool // the terminal said so
	status      cat.ChannelStatus
	failure     error
	closed      bool
	readers     int
	readerOwn   bool // the applet's own goroutine is among the readers
	notify      chan struct{}
}

var _ net.Conn = (*Conn)(nil)

// Channel is the identifier of the BIP channel, 1 to 7.
func (c *Conn) Channel() int { return c.channel }

// Read waits for data. Errors: io.EOF, net.ErrClosed, os.ErrDeadlineExceeded, ErrReset, or what the terminal answered.
func (c *Conn) Read(p []byte) (int, error) {
	card := c.tk.card
	expired := c.readEnd.wait()
	card.mu.Lock()
	defer card.mu.Unlock()
	for {
		switch {
		case c.closed:
			return 0, net.ErrClosed
		case isClosed(expired):
			return 0, os.ErrDeadlineExceeded
		case len(p) == 0:
			return 0, nil
		case c.udp && len(c.datagrams) > 0:
			n := copy(p, c.datagrams[0])
			c.datagrams = c.datagrams[1:]
			c.receive()
			return n, nil
		case !c.udp && len(c.rx) > 0:
			n := copy(p, c.rx)
			if c.rx = c.rx[n:]; len(c.rx) == 0 {
				c.rx = nil
			}
			c.receive()
			return n, nil
		case c.failure != nil:
			return 0, c.failure
		case c.dropped && c.unread == 0 && !c.receiving:
			return 0, io.EOF
		}
		c.park(expired)
	}
}

// park lets go of the card's lock until something changed or expired is closed.
func (c *Conn) park(expired <-chan struct{}) {
	own := goroutineID() == c.tk.main
	c.readers++
	c.readerOwn = c.readerOwn || own
	c.tk.parked(own)
	mu := &c.tk.card.mu
	mu.Unlock()
	select {
	case <-c.notify:
	case <-expired:
	}
	mu.Lock()
	c.readers--
	if own {
		c.readerOwn, c.tk.waiting = false, false
	}
	if c.readers > 0 {
		c.poke() // for the next one
	}
}

func (c *Conn) poke() {
	select {
	case c.notify <- struct{}{}:
	default:
	}
}

// wakeReader tells who waits that something changed.
func (c *Conn) wakeReader() {
	if c.readers > 0 {
		c.tk.woken(c.readerOwn)
	}
	c.poke()
}

// dataAvailable starts to fetch what the terminal announces.
func (c *Conn) dataAvailable(n int) {
	c.unread = max(c.unread, n)
	c.receive()
}

// receive queues the next RECEIVE DATA, for as much as is known to be there, if there is something to fetch and room for it.
func (c *Conn) receive() {
	switch {
	case c.unread == 0 || c.receiving || c.closed || c.failure != nil:
		return
	case !c.udp && len(c.rx)+maxReceive > rxLimit:
		return
	case c.udp && len(c.datagrams)*maxReceive > rxLimit:
		return
	}
	c.receiving = true
	kit := c.tk.kit
	kit.enqueue(&call{owner: c.tk, command: kit.numbered(receiveCommand(c.channel, byte(min(c.unread, maxReceive)))), take: c.received})
}

// received takes the response to RECEIVE DATA, and asks for more while more remains.
func (c *Conn) received(response []byte) {
	c.receiving = false
	var l objects
	err := l.success(response, cat.TypeReceiveData)
	var data []byte
	remaining := 0
	if err == nil {
		data, remaining, err = l.received()
	}
	if err == nil && len(data) == 0 && remaining > 0 {
		err = fmt.Errorf("softuicc: terminal says that %d octets wait and gives none", remaining)
	}
	if err != nil {
		c.unread = 0
		c.fail(err)
		return
	}
	c.unread = remaining
	c.rx = append(c.rx, data...)
	if c.udp && c.unread == 0 && len(c.rx) > 0 {
		c.datagrams = append(c.datagrams, c.rx)
		c.rx = nil
	}
	c.receive()
	if !c.udp || c.unread == 0 {
		c.wakeReader()
	}
}

// linkChanged takes a Channel status event.
func (c *Conn) linkChanged(s cat.ChannelStatus) {
	c.status = s
	if s.Link == cat.LinkEstablished {
		c.established, c.dropped = true, false // dropped before: the terminal has connected again
	} else if c.established || s.Link == cat.LinkDown {
		c.dropped = true // also: a server's client has gone
	}
	c.wakeReader()
}

// fail ends the connection; what was received stays readable.
func (c *Conn) fail(err error) {
	if c.failure == nil {
		c.failure = err
	}
	c.wakeReader()
}

// Write sends all of p, in SEND DATA commands of at most MaxSend octets: as much as the terminal's buffer takes is
// stored and then sent at once. A datagram has to fit the buffer.
func (c *Conn) Write(p []byte) (int, error) {
	c.writing.Lock()
	defer c.writing.Unlock()
	if c.udp && len(p) > max(c.granted, MaxSend) {
		return 0, fmt.Errorf("softuicc: datagram of %d octets, the terminal's buffer holds %d", len(p), c.granted)
	}
	ctx := c.writeEnd.context(c.tk.kit.ctx)
	sent, stored := 0, 0
	for sent < len(p) || c.udp && len(p) == 0 {
		if err := c.writable(ctx); err != nil {
			return sent - stored, err
		}
		block := p[sent:min(sent+MaxSend, len(p))]
		room := stored+len(block)+MaxSend <= c.granted || c.udp
		immediately := sent+len(block) == len(p) || !room
		if err := c.send(ctx, block, immediately); err != nil {
			return sent - stored, c.writeError(err)
		}
		sent += len(block)
		stored += len(block)
		if immediately {
			stored = 0
		}
		if len(p) == 0 {
			break
		}
	}
	return sent, nil
}

func (c *Conn) writable(ctx context.Context) error {
	c.tk.card.mu.Lock()
	defer c.tk.card.mu.Unlock()
	switch {
	case c.closed:
		return net.ErrClosed
	case c.failure != nil:
		return c.failure
	}
	return ctx.Err()
}

// Pauses after a SEND DATA that found the terminal's buffer full.
const (
	firstPause = 5 * time.Millisecond
	sendTries  = 11 // 5 ms, doubled each time: 5 s in all
)

// send hands over one block, again and again while the terminal's buffer is full.
func (c *Conn) send(ctx context.Context, block []byte, immediately bool) error {
	pause := firstPause
	for try := 1; ; try++ {
		_, err := c.tk.SendData(ctx, c.channel, block, immediately)
		var refused *ResultError
		full := errors.As(err, &refused) && refused.Result.General == cat.ResultBIPError &&
			len(refused.Result.Info) > 0 && refused.Result.Info[0] == cat.BIPBufferUnavailable
		if !full || try == sendTries {
			return err
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		}
		pause *= 2
	}
}

// writeError gives a Write that Close interrupted the error that a net.Conn has for that.
func (c *Conn) writeError(err error) error {
	c.tk.card.mu.Lock()
	defer c.tk.card.mu.Unlock()
	if c.closed {
		return net.ErrClosed
	}
	return err
}

// Close sends CLOSE CHANNEL and waits for the answer. A Read or Write under way ends with net.ErrClosed.
func (c *Conn) Close() error {
	card, kit := c.tk.card, c.tk.kit
	card.mu.Lock()
	if c.closed {
		card.mu.Unlock()
		return net.ErrClosed
	}
	c.closed = true
	c.wakeReader()
	card.mu.Unlock()
	c.writeEnd.set(time.Unix(0, 1))
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	err := c.tk.CloseChannel(ctx, c.channel, 0)
	card.mu.Lock()
	defer card.mu.Unlock()
	if kit.conns[c.channel] == c {
		kit.conns[c.channel] = nil
	}
	var refused *ResultError
	if errors.Is(err, ErrReset) || errors.As(err, &refused) && refused.Result.General == cat.ResultBIPError {
		return nil // the channel is gone either way
	}
	return err
}

// LocalAddr is not known to a card: it names the channel.
func (c *Conn) LocalAddr() net.Addr { return channelAddr(c.channel) }

// RemoteAddr is the destination that the channel was opened for.
func (c *Conn) RemoteAddr() net.Addr {
	if c.udp {
		return net.UDPAddrFromAddrPort(c.params.Remote)
	}
	return net.TCPAddrFromAddrPort(c.params.Remote)
}

// SetDeadline sets both deadlines.
func (c *Conn) SetDeadline(t time.Time) error {
	return errors.Join(c.SetReadDeadline(t), c.SetWriteDeadline(t))
}

// SetReadDeadline bounds the Reads under way and to come.
func (c *Conn) SetReadDeadline(t time.Time) error {
	c.readEnd.set(t)
	return nil
}

// SetWriteDeadline bounds the Writes under way and to come. A command that the terminal was told of runs to its end.
func (c *Conn) SetWriteDeadline(t time.Time) error {
	c.tk.card.mu.Lock()
	defer c.tk.card.mu.Unlock()
	if c.closed {
		return net.ErrClosed
	}
	c.writeEnd.set(t)
	return nil
}

type channelAddr int

func (channelAddr) Network() string  { return "bip" }
func (a channelAddr) String() string { return fmt.Sprintf("channel %d", int(a)) }
