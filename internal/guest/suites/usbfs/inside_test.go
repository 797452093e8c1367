//go:build guest

package usbfs

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"bipd/ccid/usbfs"
	"bipd/internal/testkit"
)

// Messages to the reader (USB CCID rev 1.1, clause 6.1): type, length of the data, slot, number, three octets of the type.
func command(kind, number byte, data ...byte) []byte {
	b := append([]byte{kind}, binary.LittleEndian.AppendUint32(nil, uint32(len(data)))...)
	return append(append(b, 0, number, 0, 0, 0), data...)
}

const (
	powerOn    = 0x62
	slotStatus = 0x65
	xfrBlock   = 0x6F
	headLength = 10
)

// find finds the device with an interface of a class, and waits for it.
func find(t *testing.T, class uint8) (usbfs.Device, uint8) {
	t.Helper()
	var device usbfs.Device
	var number uint8
	eventually(t, "a device with the class", func() bool {
		devices, err := usbfs.FS{}.Devices()
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range devices {
			for _, in := range d.Interfaces {
				if in.Class == class {
					device, number = d, in.Number
					return true
				}
			}
		}
		return false
	})
	return device, number
}

// reader is the smart card reader.
func reader(t *testing.T) usbfs.Device {
	t.Helper()
	d, _ := find(t, 0x0B)
	return d
}

// open opens the reader until the test's end, and holds the test against what it leaves behind.
func open(t *testing.T) (*usbfs.Handle, usbfs.Device) {
	t.Helper()
	d := reader(t)
	testkit.NoLeaks(t)
	testkit.NoOpenFiles(t)
	h, err := usbfs.FS{}.Open(d, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := h.Close(); err != nil {
			t.Error(err)
		}
	})
	return h, d
}

// receive reads one message, in buffers of a size, and skips empty transfers.
func receive(t *testing.T, h *usbfs.Handle, size int) []byte {
	t.Helper()
	ctx, stop := context.WithTimeout(context.Background(), patience)
	defer stop()
	var msg []byte
	for len(msg) < headLength || len(msg) < headLength+int(binary.LittleEndian.Uint32(msg[1:])) {
		buf := make([]byte, size)
		n, err := h.Receive(ctx, buf)
		if err != nil {
			t.Fatalf("after %x: %v", msg, err)
		}
		msg = append(msg, buf[:n]...)
	}
	return msg
}

func send(t *testing.T, h *usbfs.Handle, msg []byte) {
	t.Helper()
	if err := h.Send(testContext(t), msg); err != nil {
		t.Fatal(err)
	}
}

// status asks for the slot's status by a number, and wants the answer with that number.
func status(t *testing.T, h *usbfs.Handle, number byte) {
	t.Helper()
	send(t, h, command(slotStatus, number))
	if got := receive(t, h, 512); len(got) != headLength || got[0] != 0x81 || got[6] != number {
		t.Fatalf("status %d: %x", number, got)
	}
}

// apdu exchanges an APDU and returns the response.
func apdu(t *testing.T, h *usbfs.Handle, number byte, size int, capdu ...byte) []byte {
	t.Helper()
	send(t, h, command(xfrBlock, number, capdu...))
	got := receive(t, h, size)
	if got[0] != 0x80 || got[6] != number || got[7] != 0 {
		t.Fatalf("APDU %x: %x", capdu, got[:headLength])
	}
	return got[headLength:]
}

func hx(s string) []byte {
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		panic(err)
	}
	return b
}

// result is what a transfer returned.
type result struct {
	n   int
	err error
}

// background runs a transfer beside the test.
func background(f func() (int, error)) <-chan result {
	ch := make(chan result, 1)
	go func() {
		n, err := f()
		ch <- result{n, err}
	}()
	return ch
}

// await waits for a transfer's end.
func await(t *testing.T, what string, ch <-chan result) result {
	t.Helper()
	select {
	case r := <-ch:
		return r
	case <-time.After(patience):
		t.Fatalf("%s: hangs", what)
		return result{}
	}
}

// pendingTime is how long a transfer surely needs to be under way. Where it is not yet the test is only easier.
const pendingTime = 100 * time.Millisecond

func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !holds(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s: not within %v", what, patience)
		}
	}
}

func testContext(t *testing.T) context.Context {
	t.Helper()
	ctx, stop := context.WithTimeout(context.Background(), patience)
	t.Cleanup(stop)
	return ctx
}

// kernelLog is what the kernel has logged so far.
func kernelLog(t *testing.T) string {
	t.Helper()
	fd, err := unix.Open("/dev/kmsg", unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	var all bytes.Buffer
	b := make([]byte, 8192)
	for {
		n, err := unix.Read(fd, b)
		switch {
		case errors.Is(err, unix.EAGAIN):
			return all.String()
		case errors.Is(err, unix.EPIPE): // a line was overwritten meanwhile
		case err != nil:
			t.Fatal(err)
		default:
			all.Write(b[:n])
		}
	}
}
