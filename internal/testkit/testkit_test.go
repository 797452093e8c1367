package testkit

import (
	"net"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// A check that fails is given up after its time, and not before.
func TestSettle(t *testing.T) {
	const patience = 100 * time.Millisecond
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		if err := settleWithin(patience, func() error { return net.ErrClosed }); err != net.ErrClosed || time.Since(start) < patience {
			t.Errorf("%v after %v", err, time.Since(start))
		}
		start = time.Now()
		err := settleWithin(patience, func() error {
			if time.Since(start) < patience/2 {
				return net.ErrClosed
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
	})
}

// What runs outside a bubble gets real time to end, though the bubble's clock runs ahead.
func TestGoroutinesOutsideBubble(t *testing.T) {
	before := runtime.NumGoroutine()
	for range 10 {
		go time.Sleep(2 * time.Second) // 15,000 rounds without a pause are over before
	}
	synctest.Test(t, func(*testing.T) {
		const bubble = 2 // goroutines that it adds itself
		if err := Goroutines(before + bubble); err != nil {
			t.Error(err)
		}
	})
}

// A goroutine too many is told with its stack.
func TestGoroutinesTellsWho(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		before := runtime.NumGoroutine()
		end := make(chan bool)
		for range 10 { // more than the few of the tests before that may be about to end
			go leftOver(end)
		}
		if err := goroutines(before, 100*time.Millisecond); err == nil || !strings.Contains(err.Error(), "leftOver") {
			t.Errorf("left over: %v", err)
		}
		close(end)
		if err := Goroutines(before); err != nil {
			t.Error(err)
		}
	})
}

func leftOver(end chan bool) { <-end }

func TestOpenFilesNamesThem(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	with, err := openFiles()
	l.Close()
	without, err2 := openFiles()
	if err != nil || err2 != nil || len(with) != len(without)+1 {
		t.Errorf("%q, %v with a socket, %q, %v without", with, err, without, err2)
	}
}

func TestLogLines(t *testing.T) {
	var l Log
	l.Write([]byte("one red\ntwo"))
	l.Write([]byte(" red\nthree\n"))
	if got := l.Lines("red", "two"); len(got) != 1 || got[0] != "two red" {
		t.Errorf("%q", got)
	}
	if l.String() != "one red\ntwo red\nthree\n" {
		t.Errorf("%q", l.String())
	}
}

func TestPorts(t *testing.T) {
	if c, err := net.Dial("tcp", ClosedPort(t).String()); err == nil {
		c.Close()
		t.Error("the closed port is open")
	}
	if c, err := net.DialTimeout("tcp", BlackHole(t).String(), 200*time.Millisecond); err == nil { // there is no moment at which it does
		c.Close()
		t.Error("the black hole answers")
	}
}
