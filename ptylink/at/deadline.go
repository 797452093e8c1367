package at

import (
	"context"
	"io"
	"time"
)

var past = time.Unix(1, 0)

// interrupt ends the Reads and Writes that wait on rw, for good.
func interrupt(rw io.ReadWriter) {
	if d, ok := rw.(interface{ SetDeadline(time.Time) error }); ok && d.SetDeadline(past) == nil {
		return
	}
	if c, ok := rw.(io.Closer); ok {
		c.Close()
	}
}

// WriteContext writes b, giving up with the cause of ctx when that ends, if rw has write deadlines: then n < len(b) octets
// are written. It leaves no deadline behind.
func WriteContext(ctx context.Context, rw io.Writer, b []byte) (n int, err error) {
	d, ok := rw.(interface{ SetWriteDeadline(time.Time) error })
	if !ok {
		return rw.Write(b)
	}
	interrupted := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(interrupted)
		_ = d.SetWriteDeadline(past) // if it fails, the write lasts as long as the line makes it
	})
	n, err = rw.Write(b)
	if !stop() {
		<-interrupted
		_ = d.SetWriteDeadline(time.Time{})
	}
	if err != nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	return n, err
}
