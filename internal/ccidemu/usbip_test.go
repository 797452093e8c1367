package ccidemu

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"syscall"
	"testing"
	"time"

	"bipd/ccid/usbfs"
	"bipd/internal/testkit"
	"bipd/softuicc"
)

// controller is a host controller's end of USB/IP.
type controller struct {
	t    testing.TB
	conn net.Conn
	seq  uint32
}

// attached serves a reader to a controller.
func attached(t testing.TB, r *Reader) (*controller, context.CancelFunc, <-chan error) {
	t.Helper()
	near, far := net.Pipe()
	ctx, cancel := context.WithCancel(context.Background())
	result := make(chan error, 1)
	go func() { result <- r.ServeUSBIP(ctx, far) }()
	t.Cleanup(func() {
		cancel()
		near.Close()
	})
	return &controller{t: t, conn: near}, cancel, result
}

// submit sends a request and gives its number.
func (c *controller) submit(in bool, endpoint byte, length int, setup string, data []byte) uint32 {
	c.t.Helper()
	c.seq++
	h := make([]byte, usbipHeader)
	be := binary.BigEndian
	be.PutUint32(h, usbipSubmit)
	be.PutUint32(h[4:], c.seq)
	be.PutUint32(h[8:], 1<<16|1)
	if in {
		be.PutUint32(h[12:], 1)
	}
	be.PutUint32(h[16:], uint32(endpoint))
	be.PutUint32(h[24:], uint32(length))
	copy(h[40:], unhex(c.t, setup))
	c.write(append(h, data...))
	return c.seq
}

func (c *controller) write(b []byte) {
	c.t.Helper()
	c.conn.SetWriteDeadline(time.Now().Add(patience))
	if _, err := c.conn.Write(b); err != nil {
		c.t.Fatal(err)
	}
}

// reply reads a reply: command, number, status, length; in says that data follows.
func (c *controller) reply(in bool) (command, seq uint32, status int32, length int, data []byte) {
	c.t.Helper()
	c.conn.SetReadDeadline(time.Now().Add(patience))
	var h [usbipHeader]byte
	if _, err := io.ReadFull(c.conn, h[:]); err != nil {
		c.t.Fatal(err)
	}
	be := binary.BigEndian
	command, seq, status, length = be.Uint32(h[:]), be.Uint32(h[4:]), int32(be.Uint32(h[20:])), int(be.Uint32(h[24:]))
	if in && command == usbipRetSubmit {
		data = make([]byte, length)
		if _, err := io.ReadFull(c.conn, data); err != nil {
			c.t.Fatal(err)
		}
	}
	return command, seq, status, length, data
}

// control makes a control request and wants this answer; an answer "stall" is that.
func (c *controller) control(setup string, data []byte, want string) {
	c.t.Helper()
	raw := unhex(c.t, setup)
	in := raw[0]&0x80 != 0
	n := int(binary.LittleEndian.Uint16(raw[6:]))
	seq := c.submit(in, 0, n, setup, data)
	command, got, status, _, answer := c.reply(in)
	if command != usbipRetSubmit || got != seq {
		c.t.Fatalf("%s: reply %d to %d", setup, command, got)
	}
	text := tohex(answer)
	if status == -int32(syscall.EPIPE) {
		text = "stall"
	} else if status != 0 {
		c.t.Fatalf("%s: status %d", setup, status)
	}
	if text != want {
		c.t.Errorf("%s: %s, want %s", setup, text, want)
	}
}

func TestEnumeration(t *testing.T) {
	testkit.NoLeaks(t)
	r := New(PCTwin())
	defer r.Unplug()
	c, cancel, result := attached(t, r)
	device := "120100020000004" + "0E608373400010102" + "0001"
	c.control("8006000100001200", nil, device)
	c.control("8006000100000800", nil, device[:16])
	config := "09025D000101008032" + "090400000" + "30B000000" +
		"3621000100" + "07" + "03000000" + "A00F0000" + "A00F0000" + "00" + "002A0000" + "16400500" + "00" + "FE000000" + "00000000" + "00000000" +
		"30020100" + "0F010000" + "0000" + "0000" + "00" + "01" +
		"07050202400000" + "07058202400000" + "07058103080010"
	c.control("800600020000FF00", nil, config)
	c.control("800600030000FF00", nil, "04030904")
	c.control("800601030904FF00", nil, "100347006500"+"6D0070006C0075007300") // Gemplus
	c.control("800603030904FF00", nil, "stall")                               // no serial number
	c.control("800605030904FF00", nil, "stall")
	c.control("8006000600000A00", nil, "stall") // device qualifier: full speed alone
	c.control("8000000000000200", nil, "0000")
	c.control("8008000000000100", nil, "01")
	c.control("810A000000000100", nil, "00")
	c.control("0009010000000000", nil, "")
	c.control("0005010000000000", nil, "")
	c.control("0201000082000000", nil, "")
	c.control("010B000000000000", nil, "")
	c.control("A102000000000400", nil, "A00F0000")
	c.control("C000000000000100", nil, "stall") // vendor
	c.control("0007000000000000", nil, "stall")
	c.control("A102000001000400", nil, "stall") // another interface
	if v := r.Violations(); len(v) != 1 {
		t.Errorf("violations %v", v)
	}
	cancel()
	if err := ended(t, result); err != nil {
		t.Error(err)
	}
}

func TestUSBIPTransfers(t *testing.T) {
	testkit.NoLeaks(t)
	m := SCR3310()
	r := New(m)
	defer r.Unplug()
	card := newCard(t, softuicc.Config{})
	if err := r.Insert(0, card, softuicc.ContactsConfig{}); err != nil {
		t.Fatal(err)
	}
	c, _, result := attached(t, r)
	c.control("0009010000000000", nil, "")

	// The notification of the card that is there, held until the endpoint is read.
	notify := c.submit(true, 1, 8, "", nil)
	if _, seq, status, _, data := c.reply(true); seq != notify || status != 0 || tohex(data) != "5003" {
		t.Errorf("notification %X", data)
	}
	// A bulk IN request is held until there is an answer.
	in := c.submit(true, 2, 512, "", nil)
	power := unhex(t, "62000000000000000000")
	out := c.submit(false, 2, len(power), "", power)
	replies := map[uint32]string{}
	for range 2 {
		_, seq, status, n, data := c.reply(false)
		if seq == in { // its data follows
			data = make([]byte, n)
			if _, err := io.ReadFull(c.conn, data); err != nil {
				t.Fatal(err)
			}
		}
		if status != 0 {
			t.Errorf("request %d: status %d", seq, status)
		}
		replies[seq] = tohex(data)
		if seq == out && n != len(power) {
			t.Errorf("%d octets sent", n)
		}
	}
	if want := "800B0000000000000000" + softATR; replies[in] != want {
		t.Errorf("answer %s, want %s", replies[in], want)
	}

	unlink := func(victim uint32) uint32 {
		c.seq++
		h := make([]byte, usbipHeader)
		binary.BigEndian.PutUint32(h, usbipUnlink)
		binary.BigEndian.PutUint32(h[4:], c.seq)
		binary.BigEndian.PutUint32(h[20:], victim)
		c.write(h)
		return c.seq
	}
	victim := c.submit(true, 2, 512, "", nil)
	seq := unlink(victim)
	if command, got, status, _, _ := c.reply(true); command != usbipRetUnlink || got != seq || status != -int32(syscall.ECONNRESET) {
		t.Errorf("unlink: %d %d %d", command, got, status)
	}
	seq = unlink(victim)
	if command, got, status, _, _ := c.reply(true); command != usbipRetUnlink || got != seq || status != 0 {
		t.Errorf("second unlink: %d %d %d", command, got, status)
	}
	// What has arrived is not lost by it.
	victim = c.submit(true, 2, 512, "", nil)
	for end := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		r.mu.Lock()
		waiting := len(r.bulkIn.requests) == 1
		r.mu.Unlock()
		if waiting {
			break
		}
		if time.Now().After(end) {
			t.Fatal("the request does not come")
		}
	}
	r.mu.Lock()
	r.transmit(make([]byte, 64), false)
	r.mu.Unlock()
	unlink(victim)
	if command, got, status, n, _ := c.reply(true); command != usbipRetSubmit || got != victim || status != 0 || n != 64 {
		t.Errorf("part of a message: %d %d %d, %d octets", command, got, status, n)
	}
	if command, _, status, _, _ := c.reply(true); command != usbipRetUnlink || status != 0 {
		t.Errorf("unlink after it: %d %d", command, status)
	}
	// Stalls, and an endpoint that there is not.
	c.submit(false, 2, 3, "", []byte{1, 2, 3})
	if _, _, status, _, _ := c.reply(false); status != -int32(syscall.EPIPE) {
		t.Errorf("a message of three octets: status %d", status)
	}
	c.submit(true, 5, 8, "", nil)
	if _, _, status, _, _ := c.reply(true); status != -int32(syscall.EPIPE) {
		t.Errorf("endpoint 5: status %d", status)
	}
	// Unplugged, with requests on their way.
	c.submit(true, 2, 512, "", nil)
	go io.Copy(io.Discard, c.conn)
	r.Unplug()
	if err := ended(t, result); !errors.Is(err, usbfs.ErrGone) {
		t.Errorf("after unplugging: %v", err)
	}
}

func TestUSBIPEnds(t *testing.T) {
	testkit.NoLeaks(t)
	for name, tc := range map[string]struct {
		bad  func(c *controller)
		fine bool
	}{
		"closed":  {func(c *controller) { c.conn.Close() }, true},
		"command": {func(c *controller) { c.write(make([]byte, usbipHeader)) }, false},
		"length": {func(c *controller) {
			h := make([]byte, usbipHeader)
			binary.BigEndian.PutUint32(h, usbipSubmit)
			binary.BigEndian.PutUint32(h[24:], 0xFFFFFFFF)
			c.write(h)
		}, false},
		"cut": {func(c *controller) { c.write([]byte{0, 0, 0, 1}); c.conn.Close() }, false},
	} {
		t.Run(name, func(t *testing.T) {
			r := New(SCR3310())
			defer r.Unplug()
			c, _, result := attached(t, r)
			tc.bad(c)
			if err := ended(t, result); (err == nil) != tc.fine {
				t.Errorf("outcome %v", err)
			}
			// The reader can be attached anew.
			c, _, _ = attached(t, r)
			c.control("8000000000000200", nil, "0000")
		})
	}
}

// FuzzUSBIP sends any octets to the device's end.
func FuzzUSBIP(f *testing.F) {
	h := make([]byte, usbipHeader)
	h[3], h[7], h[15], h[19], h[26] = usbipSubmit, 1, 1, 2, 2
	f.Add(h)
	h = append([]byte(nil), h...)
	h[15], h[26], h[27] = 0, 0, 10
	f.Add(append(h, 0x62, 0, 0, 0, 0, 0, 0, 0, 0, 0))
	f.Fuzz(func(t *testing.T, b []byte) {
		r := New(SCR3310())
		defer r.Unplug()
		near, far := net.Pipe()
		result := make(chan error, 1)
		go func() { result <- r.ServeUSBIP(context.Background(), far) }()
		go io.Copy(io.Discard, near)
		near.Write(b)
		near.Close()
		select {
		case <-result:
		case <-time.After(patience):
			t.Error("the connection has ended, and the device goes on")
		}
	})
}
