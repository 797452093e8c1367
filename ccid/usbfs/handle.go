package usbfs

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"syscall"
)

// Bits of an endpoint (USB 2.0, table 9-13), and of a control request's first octet (table 9-2).
const (
	directionIn        = 0x80
	attributeMask      = 0x03
	attributeBulk      = 0x02
	attributeInterrupt = 0x03
)

// setupLength is the length of the set-up packet of a control transfer in octets (USB 2.0, table 9-2).
const setupLength = 8

// Handle is one claimed interface of an open device. Its methods may be called beside each other, and Close at any time.
//
// A transfer waits until it is done, its context ends, or the device goes: how long it may take is the caller's business, for
// the device may be waiting for a person. Errors of transfers wrap those of this package, the context's, or the kernel's.
type Handle struct {
	iface           uint8
	node            *node
	detached        bool      // a kernel driver had to let go
	in, out, notify *Endpoint // nil where the interface has none
	transfers       *transfers
}

// Send makes one bulk OUT transfer. No packet of length zero follows a message that fills its last packet; an empty
// message is one. After an error other than ErrStall part of the message may have gone out.
func (h *Handle) Send(ctx context.Context, msg []byte) error {
	if h.out == nil {
		return fmt.Errorf("usbfs: send: %w", ErrNoEndpoint)
	}
	x := h.transfers.get(len(msg))
	defer h.transfers.put(x)
	copy(x.buf, msg)
	_, err := h.transfers.run(ctx, "send", kindBulk, h.out.Address, x)
	return h.unstalled(h.out, err)
}

// Receive makes one bulk IN transfer, which ends with a short packet or when buf is full, and returns the number of octets,
// which may be 0. What the end of ctx finds complete, or partly there, is returned as a success.
func (h *Handle) Receive(ctx context.Context, buf []byte) (int, error) {
	return h.read(ctx, "receive", kindBulk, h.in, buf)
}

// Notify makes one interrupt IN transfer, as Receive does a bulk IN one.
func (h *Handle) Notify(ctx context.Context, buf []byte) (int, error) {
	return h.read(ctx, "notify", kindInterrupt, h.notify, buf)
}

// read reads whole packets, since a controller that gets more than there is room for loses it all.
func (h *Handle) read(ctx context.Context, op string, kind uint8, e *Endpoint, buf []byte) (int, error) {
	if e == nil {
		return 0, fmt.Errorf("usbfs: %s: %w", op, ErrNoEndpoint)
	}
	packet := max(int(e.MaxPacket), 1)
	x := h.transfers.get(max((len(buf)+packet-1)/packet, 1) * packet)
	defer h.transfers.put(x)
	n, err := h.transfers.run(ctx, op, kind, e.Address, x)
	if n > len(buf) && err == nil {
		err = fmt.Errorf("usbfs: %s: %w: %d octets for %d", op, ErrOverflow, n, len(buf))
	}
	return copy(buf, x.buf[:n]), h.unstalled(e, err)
}

// unstalled ends the stall that err tells of, so that the next transfer can be made, and returns err. Some devices refuse
// even that, and yet go on; others do not, and the next transfer says so. The kernel gives the device 5 s for it.
func (h *Handle) unstalled(e *Endpoint, err error) error {
	if errors.Is(err, ErrStall) {
		h.node.clearHalt(e.Address)
	}
	return err
}

// Control makes a control transfer of the interface: wIndex is its number. Bit 7 of requestType tells whether data is
// read or sent; the number of octets that moved is returned.
func (h *Handle) Control(ctx context.Context, requestType, request uint8, value uint16, data []byte) (int, error) {
	if len(data) > 0xFFFF {
		return 0, fmt.Errorf("usbfs: control: %d octets, there can be 65535", len(data))
	}
	x := h.transfers.get(setupLength + len(data))
	defer h.transfers.put(x)
	x.buf[0], x.buf[1] = requestType, request
	binary.LittleEndian.PutUint16(x.buf[2:], value)
	binary.LittleEndian.PutUint16(x.buf[4:], uint16(h.iface))
	binary.LittleEndian.PutUint16(x.buf[6:], uint16(len(data)))
	copy(x.buf[setupLength:], data)
	n, err := h.transfers.run(ctx, "control", kindControl, requestType&directionIn, x)
	if requestType&directionIn != 0 {
		copy(data, x.buf[setupLength:][:n])
	}
	return n, err
}

// Reset makes a USB reset of the device: what it was about to send is forgotten, and transfers that wait end with
// ErrAborted. Once begun it ends when the kernel says so, after seconds at most. ErrGone means that the device came out of
// it as another one, or not at all.
func (h *Handle) Reset(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := h.transfers.enter(); err != nil {
		return err
	}
	defer h.transfers.calls.Done()
	if err := h.node.reset(); err != nil {
		return explain("reset", err)
	}
	return explain("claim the interface after the reset", h.node.claim(h.iface)) // the kernel took it back meanwhile
}

// Close ends what waits, with ErrClosed, gives the interface back, to the kernel driver where one had it, and closes the
// node. A second call does nothing.
func (h *Handle) Close() error {
	return h.transfers.close(func() error {
		err := h.node.release(h.iface)
		if err == nil && h.detached {
			err = h.node.attach(h.iface)
		}
		if err == syscall.ENODEV || err == syscall.EINVAL { // it is gone, or another program has taken the interface
			return nil
		}
		return explain("give the interface back", err)
	})
}
