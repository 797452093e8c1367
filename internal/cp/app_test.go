package cp_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"time"

	"bipd/cat"
	"bipd/softuicc"
)

// Bearers of the two methods, as the default routes have them.
var (
	packetBearer  = cat.BearerDescription{Type: cat.BearerPacket, Parameters: []byte{3, 4, 3, 4, 31, 2}}
	wlanBearer    = cat.BearerDescription{Type: cat.BearerWLAN}
	defaultBearer = cat.BearerDescription{Type: cat.BearerDefault}
)

const background = cat.OpenImmediate | cat.OpenBackground

// app is an applet as a straight line of steps: a step that fails ends it with an error.
type app struct {
	ctx  context.Context
	tk   *softuicc.Toolkit
	meet func() // is called when get has its channel
}

type failure struct{ error }

// applet makes an Applet of the steps of f.
func applet(f func(a *app)) softuicc.Applet {
	return func(ctx context.Context, tk *softuicc.Toolkit) (err error) {
		ctx, cancel := context.WithTimeout(ctx, appletTime)
		defer cancel()
		defer func() {
			if r := recover(); r != nil {
				step, ok := r.(failure)
				if !ok {
					panic(r)
				}
				err = step.error
			}
		}()
		f(&app{ctx, tk, func() {}})
		return nil
	}
}

// applets is a list of one.
func applets(f func(a *app)) []softuicc.Applet { return []softuicc.Applet{applet(f)} }

func (a *app) fail(format string, args ...any) { panic(failure{fmt.Errorf(format, args...)}) }

func (a *app) must(err error) {
	if err != nil {
		panic(failure{err})
	}
}

// params ask for a TCP channel.
func params(bearer cat.BearerDescription, qualifier byte, remote netip.AddrPort) softuicc.DialParams {
	return softuicc.DialParams{Bearer: bearer, Qualifier: qualifier, Remote: remote, Transport: cat.TCPClientRemote}
}

func (a *app) dial(p softuicc.DialParams) *softuicc.Conn {
	c, err := a.tk.Dial(a.ctx, p)
	a.must(err)
	return c
}

// refused wants OPEN CHANNEL refused with this general result and additional information.
func (a *app) refused(p softuicc.DialParams, want ...byte) {
	_, err := a.tk.Dial(a.ctx, p)
	a.isResult(err, want...)
}

func (a *app) isResult(err error, want ...byte) {
	var r *softuicc.ResultError
	if !asResult(err, &r) {
		a.fail("%v, want the result % X", err, want)
	}
	if got := append([]byte{byte(r.Result.General)}, r.Result.Info...); !bytes.Equal(got, want) {
		a.fail("%v answered % X, want % X", r.Command, got, want)
	}
}

func asResult(err error, r **softuicc.ResultError) bool { return errors.As(err, r) }

// await waits for an event that is none of the card's.
func (a *app) await(what string, event <-chan struct{}) {
	select {
	case <-event:
	case <-a.ctx.Done():
		a.fail("waited for %s: %v", what, context.Cause(a.ctx))
	}
}

// echo sends a line to an echo server and wants it back.
func (a *app) echo(c *softuicc.Conn) {
	a.must(c.SetDeadline(time.Now().Add(testTime)))
	const line = "is anybody there?"
	_, err := io.WriteString(c, line)
	a.must(err)
	back := make([]byte, len(line))
	_, err = io.ReadFull(c, back)
	a.must(err)
	if string(back) != line {
		a.fail("%q came back as %q", line, back)
	}
}

// ended reads to the end of the connection and wants the terminal to tell it as a link dropped.
func (a *app) ended(c *softuicc.Conn) {
	a.must(c.SetReadDeadline(time.Now().Add(testTime)))
	_, err := io.Copy(io.Discard, c)
	a.must(err)
	list, err := a.tk.GetChannelStatus(a.ctx)
	a.must(err)
	for _, s := range list {
		if s.Channel == c.Channel() && (s.Link != 0 || s.Info != cat.StatusDropped) {
			a.fail("channel %d ended, and its status is %v", c.Channel(), s)
		}
	}
}

// get downloads a URL by Go's HTTP client and wants the file.
func (a *app) get(p softuicc.DialParams, url string, file []byte) {
	dial := a.tk.Dialer(p)
	tr := &http.Transport{DisableCompression: true, DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
		c, err := dial(ctx, network, address)
		a.meet()
		return c, err
	}}
	defer tr.CloseIdleConnections()
	req, err := http.NewRequestWithContext(a.ctx, "GET", url, nil)
	a.must(err)
	resp, err := tr.RoundTrip(req)
	a.must(err)
	defer resp.Body.Close()
	h := sha256.New()
	n, err := io.Copy(h, resp.Body)
	a.must(err)
	if [32]byte(h.Sum(nil)) != sha256.Sum256(file) {
		a.fail("%d octets downloaded, and not those of the file", n)
	}
}

// datagramSize is what a block server sends behind the block's offset.
const datagramSize = 16 << 10

// getBlocks downloads a file from a blockServer: it asks for one block at a time, again where no answer comes.
func (a *app) getBlocks(c *softuicc.Conn, file []byte) {
	h := sha256.New()
	buf := make([]byte, 1<<16)
	for at := 0; at < len(file); at += datagramSize {
		h.Write(a.block(c, uint64(at), buf))
	}
	if [32]byte(h.Sum(nil)) != sha256.Sum256(file) {
		a.fail("the octets downloaded are not those of the file")
	}
}

func (a *app) block(c *softuicc.Conn, at uint64, buf []byte) []byte {
	for range 5 {
		_, err := c.Write(binary.BigEndian.AppendUint64(nil, at))
		a.must(err)
		a.must(c.SetReadDeadline(time.Now().Add(testTime / 2)))
		for err == nil {
			var n int
			n, err = c.Read(buf)
			if err == nil && n > 8 && binary.BigEndian.Uint64(buf) == at {
				return buf[8:n]
			}
		}
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			a.must(err)
		}
	}
	a.fail("no block at %d comes", at)
	return nil
}

// randomFile makes n octets that do not look like a secret by chance: eight digits are soon found in the hex of a trace.
func randomFile(n int) []byte {
	b := make([]byte, n)
	for rand.Read(b); shownSecret(hex.EncodeToString(b)) != ""; {
		rand.Read(b)
	}
	return b
}
