package ap

import (
	"bytes"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"bipd/ptylink/at"
)

// packets is a UDP socket on loopback.
func packets(t *testing.T) net.PacketConn {
	t.Helper()
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	pc.SetDeadline(time.Now().Add(patience))
	t.Cleanup(func() { pc.Close() })
	return pc
}

func wantDatagram(t *testing.T, pc net.PacketConn, want []byte) net.Addr {
	t.Helper()
	buf := make([]byte, 65536)
	n, from, err := pc.ReadFrom(buf)
	if err != nil || !bytes.Equal(buf[:n], want) {
		t.Fatalf("server read %d octets, %v, want %d", n, err, len(want))
	}
	return from
}

// One datagram is one datagram on the other side, both ways, whatever its size.
func TestDatagrams(t *testing.T) {
	a := newAP(t, nil)
	pc := packets(t)
	c := serve(t, a.AP, "line1")
	conn := c.open(4, pc.LocalAddr())
	conn.SetReadDeadline(time.Now().Add(patience))
	buf := make([]byte, 65536)
	sizes := []int{1, 0, 512, 1472, 9000, 65507}
	for _, n := range sizes {
		p := random(n)
		if _, err := conn.Write(p); err != nil {
			t.Fatal(err)
		}
		from := wantDatagram(t, pc, p)
		if _, err := pc.WriteTo(p, from); err != nil {
			t.Fatal(err)
		}
		if got, err := conn.Read(buf); err != nil || !bytes.Equal(buf[:got], p) {
			t.Fatalf("read %d octets, %v, want %d", got, err, n)
		}
	}
	c.closeChannel(4, conn)
	events := a.steps(t, 4, "S718")
	if want := 2 + 2*len(sizes) + 1; len(events) != want || !strings.HasPrefix(events[0].What, "UDP connect") || events[3].Bytes != 1 {
		t.Errorf("%d events, want %d: %+v", len(events), want, events)
	}
	_, err := c.do("%WEBCLCH=4")
	wantCME(t, err, at.ErrNoChannel)
}

// Datagrams to a port that nobody has are lost one by one: the channel stays, and works once there is somebody. One
// larger than UDP carries is lost too.
func TestDatagramsLost(t *testing.T) {
	a := newAP(t, nil)
	// An address of loopback that others do not use, so that nobody takes the port meanwhile.
	own := net.IPv4(127, 77, byte(os.Getpid()>>8), byte(os.Getpid()))
	first, err := net.ListenUDP("udp", &net.UDPAddr{IP: own})
	if err != nil {
		t.Fatal(err)
	}
	addr := first.LocalAddr()
	first.Close()
	c := serve(t, a.AP, "line1")
	conn := c.open(1, addr)
	for range 5 {
		if _, err := conn.Write([]byte("nobody there")); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := conn.Write(make([]byte, 65535)); err != nil {
		t.Fatal(err)
	}
	pc, err := net.ListenPacket("udp", addr.String())
	if err != nil {
		t.Skipf("the port was taken by another: %v", err)
	}
	defer pc.Close()
	pc.SetDeadline(time.Now().Add(patience))
	if _, err := conn.Write([]byte("somebody")); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 65536)
	for {
		n, from, err := pc.ReadFrom(buf)
		if err != nil {
			t.Fatal(err)
		}
		if string(buf[:n]) == "nobody there" { // was still on its way
			continue
		}
		if string(buf[:n]) != "somebody" {
			t.Fatalf("got %d octets", n)
		}
		pc.WriteTo([]byte("answer"), from)
		break
	}
	wantDatagramAt(t, conn, "answer")
}

func wantDatagramAt(t *testing.T, conn net.Conn, want string) {
	t.Helper()
	conn.SetReadDeadline(time.Now().Add(patience))
	buf := make([]byte, 65536)
	if n, err := conn.Read(buf); err != nil || string(buf[:n]) != want {
		t.Fatalf("read %q, %v, want %q", buf[:n], err, want)
	}
}

// A flood of datagrams that the CP does not read is dropped by the kernel, as UDP is: memory stays, others go on.
func TestDatagramFlood(t *testing.T) {
	a := newAP(t, nil)
	pc := packets(t)
	c := serve(t, a.AP, "line1")
	conn, other := c.open(1, pc.LocalAddr()), c.open(2, listen(t, echo))
	conn.Write([]byte("start"))
	from := wantDatagram(t, pc, []byte("start"))
	before := heap()
	var flood sync.WaitGroup
	flood.Go(func() {
		for p := random(1400); ; {
			if _, err := pc.WriteTo(p, from); err != nil {
				return
			}
		}
	})
	for range 20 {
		roundTrip(t, other, "others go on")
	}
	if grown := int64(heap()) - int64(before); grown > 4<<20 {
		t.Errorf("memory has grown by %d octets", grown)
	}
	wantDatagramAt(t, conn, string(random(1400)))
	if _, err := c.do("%WEBCLCH=1"); err != nil {
		t.Error(err)
	}
	pc.Close()
	awaitAll(t, &flood, "the end of the flood")
}

// The policy holds for datagrams too.
func TestDatagramPolicy(t *testing.T) {
	a := newAP(t, nil)
	c := serve(t, a.AP, "line1")
	wantRefused(t, a, c, 1, &net.UDPAddr{IP: net.IPv4(224, 0, 0, 251), Port: 5353}, at.ErrPolicy)
	wantRefused(t, a, c, 1, &net.UDPAddr{IP: net.IPv4bcast, Port: 67}, at.ErrPolicy)
}
