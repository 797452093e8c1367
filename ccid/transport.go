package ccid

import "context"

// Transport is the USB interface of one reader. Send, Receive, Notify and Control may be called beside each other, each by
// one goroutine at a time; Close may be called at any time. Errors wrap those of package usbfs (ErrGone, ErrStall, ...),
// or the context's.
type Transport interface {
	// Send makes one bulk OUT transfer.
	Send(ctx context.Context, msg []byte) error
	// Receive makes one bulk IN transfer into buf, whose length is a multiple of the endpoint's packet size, and returns
	// the number of octets, which may be 0. The end of ctx cancels it without losing what arrived: where the transfer
	// completed meanwhile its octets are returned, without an error.
	Receive(ctx context.Context, buf []byte) (int, error)
	// Notify makes one interrupt IN transfer, or returns usbfs.ErrNoEndpoint where the interface has no such endpoint.
	Notify(ctx context.Context, buf []byte) (int, error)
	// Control makes a class request to the interface, with data out or in as the top bit of requestType says; wIndex is
	// the interface's number.
	Control(ctx context.Context, requestType, request uint8, value uint16, data []byte) (int, error)
	// Reset makes a USB reset of the device.
	Reset(ctx context.Context) error
	// Close gives the interface back; calls that wait end with an error.
	Close() error
}
