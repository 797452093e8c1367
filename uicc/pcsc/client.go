package pcsc

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"time"
)

// Versions of the protocol, major:minor. pcscd takes the client whose version is its own: 4:4 is spoken from 1.8.24 on,
// 4:5 by 2.3 and 2.4, 4:3 before. From 2.4.1 on pcscd takes 4:4 as well.
const (
	versionMajor  = 4
	versionMinor  = 4 // asked for first
	versionOldest = 3
	versionNewest = 5
)

// defaultSocket is where pcscd listens, unless the environment names another place.
const (
	defaultSocket = "/run/pcscd/pcscd.comm"
	socketEnv     = "PCSCLITE_CSOCK_NAME"
)

// socketName gives the socket of pcscd: name, or else what the environment says, or else the usual one.
func socketName(name string) string {
	if name != "" {
		return name
	}
	if name = os.Getenv(socketEnv); name != "" {
		return name
	}
	return defaultSocket
}

// errVersion is a refusal of the protocol version, with that of pcscd.
type errVersion struct{ major, minor int32 }

func (e *errVersion) Error() string {
	return fmt.Sprintf("%v: it speaks protocol %d:%d, not %d:%d to %d:%d", ErrDaemon, e.major, e.minor,
		versionMajor, versionOldest, versionMajor, versionNewest)
}

func (e *errVersion) Unwrap() error { return ErrDaemon }

// client is a connection to pcscd. One goroutine uses it at a time. After any error other than *Error the answers
// may be out of step with the requests, so that the connection is closed.
type client struct {
	conn    net.Conn
	in      *bufio.Reader
	minor   int32 // protocol version of pcscd
	timeout time.Duration
	broken  bool
}

// dial connects and agrees on the version. timeout bounds each later request.
func dial(ctx context.Context, socket string, timeout time.Duration) (*client, error) {
	c, err := dialVersion(ctx, socket, timeout, versionMinor)
	var refused *errVersion
	if errors.As(err, &refused) && refused.major == versionMajor &&
		refused.minor >= versionOldest && refused.minor <= versionNewest && refused.minor != versionMinor {
		return dialVersion(ctx, socket, timeout, refused.minor)
	}
	return c, err
}

// dialVersion connects and asks for one version.
func dialVersion(ctx context.Context, socket string, timeout time.Duration, minor int32) (*client, error) {
	conn, err := new(net.Dialer).DialContext(ctx, "unix", socket)
	if err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, dialError(socket, err)
	}
	c := &client{conn: conn, in: bufio.NewReader(conn), timeout: timeout}
	answer, err := call[versionMessage, versionMessage](ctx, c, cmdVersion, &versionMessage{Major: versionMajor, Minor: minor})
	if err == nil && answer.RV != Success {
		err = &errVersion{answer.Major, answer.Minor}
	}
	if err != nil {
		c.close()
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			err = fmt.Errorf("%w; its access rules may deny this user: see the polkit action org.debian.pcsc-lite.access_pcsc", err)
		}
		return nil, err
	}
	c.minor = answer.Minor
	return c, nil
}

// close ends the connection; pcscd then gives up what the client holds. It is safe to call again.
func (c *client) close() {
	c.broken = true
	c.conn.Close()
}

// call sends a request and reads its answer.
func call[Q, A bodyOf](ctx context.Context, c *client, cmd command, body *Q) (answer A, err error) {
	err = c.exchange(ctx, cmd, appendRequest(nil, cmd, body, nil), c.timeout, func() (err error) {
		answer, err = readBody[A](c.in)
		return err
	})
	return answer, err
}

// exchange writes request and calls read for the answer, within timeout (0: without limit) and until ctx ends. Errors
// are those of the context, os.ErrDeadlineExceeded after the timeout, and else wrap ErrDaemon.
func (c *client) exchange(ctx context.Context, cmd command, request []byte, timeout time.Duration, read func() error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	var deadline time.Time
	if timeout > 0 {
		deadline = time.Now().Add(timeout)
	}
	c.conn.SetDeadline(deadline)
	interrupted := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		c.conn.SetDeadline(time.Unix(1, 0))
		close(interrupted)
	})
	_, err := c.conn.Write(request)
	if err == nil {
		err = read()
	}
	if !stop() {
		<-interrupted // lest it meets the next request
	}
	if err != nil {
		c.close()
	}
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, os.ErrDeadlineExceeded):
		return fmt.Errorf("pcsc: %v: no answer within %v: %w", cmd, timeout, os.ErrDeadlineExceeded)
	}
	return fmt.Errorf("%w: %v: %w", ErrDaemon, cmd, err)
}

// readBody reads one body.
func readBody[T bodyOf](r io.Reader) (T, error) {
	var zero T
	b := make([]byte, binary.Size(&zero))
	if _, err := io.ReadFull(r, b); err != nil {
		return zero, err
	}
	return parseBody[T](b)
}

// states asks for the states of all readers; with cmdWaitReaderStateChange, also for the next change to be told (see
// waitEvent), and else with cmdGetReadersState.
func (c *client) states(ctx context.Context, cmd command) ([maxReaders]stateMessage, error) {
	return call[[0]byte, [maxReaders]stateMessage](ctx, c, cmd, new([0]byte))
}

// canWait tells whether pcscd tells of changes by itself. 4:3 does, yet loses those between two requests, and from
// 4:6 on the news of a change may come before the states that a client of 4:4 waits for.
func (c *client) canWait() bool { return c.minor == 4 || c.minor == 5 }

// waitEvent waits until something has changed since states.
func (c *client) waitEvent(ctx context.Context) error {
	return c.exchange(ctx, cmdWaitReaderStateChange, nil, 0, func() error {
		_, err := readBody[eventMessage](c.in)
		return err
	})
}

// transmit sends an APDU by the protocol given and returns the response.
func (c *client) transmit(ctx context.Context, card int32, protocol uint32, apdu []byte) (rapdu []byte, rv Code, err error) {
	body := transmitMessage{
		Card:         card,
		SendProtocol: protocol, SendPCILength: pciLength, SendLength: uint32(len(apdu)),
		RecvProtocol: protocol, RecvPCILength: pciLength, RecvLength: maxResponse,
	}
	err = c.exchange(ctx, cmdTransmit, appendRequest(nil, cmdTransmit, &body, apdu), c.timeout, func() (err error) {
		rapdu, rv, err = readTransmit(c.in)
		return err
	})
	return rapdu, rv, err
}

// readTransmit reads the answer to cmdTransmit: the body and, after success, the response.
func readTransmit(r io.Reader) (rapdu []byte, rv Code, err error) {
	answer, err := readBody[transmitMessage](r)
	if err != nil || answer.RV != Success {
		return nil, answer.RV, err
	}
	if answer.RecvLength > maxResponse {
		return nil, 0, fmt.Errorf("response of %d bytes, there is space for %d", answer.RecvLength, maxResponse)
	}
	rapdu = make([]byte, answer.RecvLength)
	_, err = io.ReadFull(r, rapdu)
	return rapdu, Success, err
}
