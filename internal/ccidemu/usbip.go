package ccidemu

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"syscall"

	"bipd/ccid/usbfs"
)

// Commands of USB/IP (Linux, Documentation/usb/usbip_protocol.rst) after the import, as vhci_hcd speaks them: headers of 48
// octets, big endian but for the setup packet.
const (
	usbipSubmit    = 1
	usbipUnlink    = 2
	usbipRetSubmit = 3
	usbipRetUnlink = 4

	usbipHeader = 48
	// usbipMaxTransfer bounds the data of a request: more than a CCID message has.
	usbipMaxTransfer = 1 << 20
)

// usbip is one attachment of a reader to a host controller.
type usbip struct {
	r    *Reader
	conn net.Conn

	// Guarded by the reader's lock.
	pending map[uint32]*pending

	mu    sync.Mutex
	queue [][]byte // replies on their way; filled where the reader's lock is held, so that it must take any number
	ready chan struct{}
}

// pending is an IN request that the host waits for.
type pending struct {
	pipe *pipe
	q    *request
}

// ServeUSBIP makes the reader the device at the far end of a USB/IP connection. It serves until ctx ends or the other end
// closes the connection (nil), the reader is unplugged (usbfs.ErrGone), or the connection fails; it closes conn, which
// unplugs the device from the host controller.
func (r *Reader) ServeUSBIP(ctx context.Context, conn net.Conn) error {
	ctx, cancel := context.WithCancel(ctx)
	u := &usbip{r: r, conn: conn, pending: make(map[uint32]*pending), ready: make(chan struct{}, 1)}
	var helpers sync.WaitGroup
	helpers.Add(2)
	go func() {
		defer helpers.Done()
		select {
		case <-ctx.Done():
		case <-r.plugged:
		}
		conn.Close()
	}()
	go func() {
		defer helpers.Done()
		u.write(ctx)
	}()
	err := u.read()
	unplugged := false
	select {
	case <-r.plugged:
		unplugged = true
	default:
	}
	ended := ctx.Err() != nil
	cancel()
	u.forget()
	helpers.Wait()
	switch {
	case unplugged:
		return usbfs.ErrGone
	case ended, errors.Is(err, io.EOF), errors.Is(err, io.ErrClosedPipe), errors.Is(err, syscall.ECONNRESET):
		return nil
	}
	return fmt.Errorf("ccidemu: USB/IP: %w", err)
}

// forget takes back what the host waits for.
func (u *usbip) forget() {
	u.r.mu.Lock()
	defer u.r.mu.Unlock()
	for seq, p := range u.pending {
		p.pipe.cancel(p.q)
		delete(u.pending, seq)
	}
}

// read obeys the host.
func (u *usbip) read() error {
	for {
		var h [usbipHeader]byte
		if _, err := io.ReadFull(u.conn, h[:]); err != nil {
			return err
		}
		be := binary.BigEndian
		seq := be.Uint32(h[4:])
		switch be.Uint32(h[:]) {
		case usbipSubmit:
			length := be.Uint32(h[24:])
			if length > usbipMaxTransfer {
				return fmt.Errorf("a transfer of %d octets", length)
			}
			in := be.Uint32(h[12:]) == 1
			var data []byte
			if !in {
				data = make([]byte, length)
				if _, err := io.ReadFull(u.conn, data); err != nil {
					return err
				}
			}
			u.submit(seq, in, be.Uint32(h[16:]), int(length), [8]byte(h[40:]), data)
		case usbipUnlink:
			u.unlink(seq, be.Uint32(h[20:]))
		default:
			return fmt.Errorf("command %d", be.Uint32(h[:]))
		}
	}
}

// submit makes one transfer.
func (u *usbip) submit(seq uint32, in bool, endpoint uint32, room int, setup [8]byte, data []byte) {
	m := &u.r.model
	switch {
	case endpoint == 0:
		answer, err := u.r.control(setup)
		if in {
			u.reply(seq, answer[:min(len(answer), room)], err)
		} else {
			u.replied(seq, len(data), err)
		}
	case !in && endpoint == uint32(m.BulkOut&0x0F):
		u.replied(seq, len(data), u.r.send(data))
	case in && endpoint == uint32(m.BulkIn&0x0F):
		u.wait(seq, &u.r.bulkIn, room)
	case in && m.InterruptIn != 0 && endpoint == uint32(m.InterruptIn&0x0F):
		u.wait(seq, &u.r.interrupt, room)
	default:
		u.reply(seq, nil, usbfs.ErrStall)
	}
}

// wait holds an IN request until there is data.
func (u *usbip) wait(seq uint32, p *pipe, room int) {
	u.r.mu.Lock()
	defer u.r.mu.Unlock()
	q := &request{room: room}
	q.done = func(data []byte, err error) {
		delete(u.pending, seq)
		u.reply(seq, data, err)
	}
	u.pending[seq] = &pending{p, q}
	u.r.submit(p, q)
}

// unlink takes a request back. What it had received already is delivered first, as a host controller does.
func (u *usbip) unlink(seq, victim uint32) {
	u.r.mu.Lock()
	defer u.r.mu.Unlock()
	status := int32(0) // answered already
	if p := u.pending[victim]; p != nil {
		p.pipe.cancel(p.q)
		delete(u.pending, victim)
		if len(p.q.got) > 0 {
			u.reply(victim, p.q.got, nil)
		} else {
			status = -int32(syscall.ECONNRESET)
		}
	}
	u.send(header(usbipRetUnlink, seq, status, 0), nil)
}

// reply answers an IN request.
func (u *usbip) reply(seq uint32, data []byte, err error) {
	u.send(header(usbipRetSubmit, seq, statusOf(err), len(data)), data)
}

// replied answers an OUT request.
func (u *usbip) replied(seq uint32, n int, err error) {
	if err != nil {
		n = 0
	}
	u.send(header(usbipRetSubmit, seq, statusOf(err), n), nil)
}

func header(command, seq uint32, status int32, length int) []byte {
	h := make([]byte, usbipHeader)
	binary.BigEndian.PutUint32(h, command)
	binary.BigEndian.PutUint32(h[4:], seq)
	binary.BigEndian.PutUint32(h[20:], uint32(status))
	binary.BigEndian.PutUint32(h[24:], uint32(length))
	return h
}

// statusOf is the kernel's negative error number.
func statusOf(err error) int32 {
	switch {
	case err == nil:
		return 0
	case errors.Is(err, usbfs.ErrGone):
		return -int32(syscall.ENODEV)
	case errors.Is(err, usbfs.ErrOverflow):
		return -int32(syscall.EOVERFLOW)
	case errors.Is(err, usbfs.ErrAborted):
		return -int32(syscall.ECONNRESET)
	}
	return -int32(syscall.EPIPE)
}

// send queues a reply.
func (u *usbip) send(header, data []byte) {
	u.mu.Lock()
	u.queue = append(u.queue, append(header, data...))
	u.mu.Unlock()
	select {
	case u.ready <- struct{}{}:
	default:
	}
}

// write sends what is queued, until the connection or ctx ends.
func (u *usbip) write(ctx context.Context) {
	for {
		u.mu.Lock()
		queue := u.queue
		u.queue = nil
		u.mu.Unlock()
		for _, b := range queue {
			if _, err := u.conn.Write(b); err != nil {
				return // the end of the connection shows when it is read
			}
		}
		if len(queue) > 0 {
			continue
		}
		select {
		case <-u.ready:
		case <-ctx.Done():
			return
		}
	}
}
