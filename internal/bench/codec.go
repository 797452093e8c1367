package main

import (
	"context"
	"fmt"
	"net/netip"
	"runtime"
	"time"

	"bipd/cat"
)

// session is the commands of a short download, as a card sends them.
func session() []cat.Command {
	dst := netip.AddrFrom4([4]byte{192, 0, 2, 1})
	name := cat.NetworkAccessName("internet.example")
	return []cat.Command{
		cat.NewCommand(1, cat.OpenImmediate, &cat.OpenChannel{
			Bearer: &cat.BearerDescription{Type: cat.BearerDefault}, BufferSize: 1400, NetworkAccessName: &name,
			Transport: &cat.TransportLevel{Protocol: cat.TCPClientRemote, Port: 443}, Destination: &dst,
		}),
		cat.NewChannelCommand(2, cat.SendImmediately, 1, &cat.SendData{Data: make([]byte, 200)}),
		cat.NewChannelCommand(3, 0, 1, &cat.ReceiveData{Length: block}),
		cat.NewCommand(4, 0, &cat.TimerManagement{Timer: 1, Value: new(cat.TimerValue)}),
		cat.NewChannelCommand(5, 0, 1, &cat.CloseChannel{}),
	}
}

func codecFigures() []figure {
	commands := session()
	var coded [][]byte
	for _, c := range commands {
		coded = append(coded, c.Append(nil))
	}
	return []figure{
		{name: "cat.decode", unit: "ns", peer: "a walk over the same objects by tag and length", prepare: always(stand{
			ours: perItem(len(coded), func() error {
				for _, b := range coded {
					if _, err := cat.ParseCommand(b); err != nil {
						return err
					}
				}
				return nil
			}),
			peer: perItem(len(coded), func() error {
				for _, b := range coded {
					if walk(b) == 0 {
						return fmt.Errorf("no objects in %X", b)
					}
				}
				return nil
			}),
		})},
		{name: "cat.decode_allocs", unit: "allocs", peer: "decoding allocates what it returns", prepare: always(stand{
			ours: allocations(len(coded), func() error {
				for _, b := range coded {
					if _, err := cat.ParseCommand(b); err != nil {
						return err
					}
				}
				return nil
			}),
		})},
		{name: "cat.encode", unit: "ns", peer: "a copy of the same octets", prepare: always(stand{
			ours: perItem(len(commands), func() error {
				buf := make([]byte, 0, 256)
				for _, c := range commands {
					if buf = c.Append(buf[:0]); len(buf) == 0 {
						return fmt.Errorf("%v is coded as nothing", c.Details.Type)
					}
				}
				return nil
			}),
			peer: perItem(len(coded), func() error {
				buf := make([]byte, 0, 256)
				for _, b := range coded {
					if buf = append(buf[:0], b...); len(buf) == 0 {
						return fmt.Errorf("nothing is copied")
					}
				}
				return nil
			}),
		})},
		{name: "cat.encode_allocs", unit: "allocs", peer: "a copy allocates nothing", prepare: always(stand{
			ours: allocations(len(commands), func() error {
				buf := make([]byte, 0, 256)
				for _, c := range commands {
					if buf = c.Append(buf[:0]); len(buf) == 0 {
						return fmt.Errorf("%v is coded as nothing", c.Details.Type)
					}
				}
				return nil
			}),
		})},
	}
}

// allocations counts the heap allocations for each of the n things that f does.
func allocations(n int, f func() error) measurement {
	return func(context.Context, time.Duration) (float64, error) {
		const runs = 1000
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		for range runs {
			if err := f(); err != nil {
				return 0, err
			}
		}
		runtime.ReadMemStats(&after)
		return float64(after.Mallocs-before.Mallocs) / float64(runs*n), nil
	}
}

// walk counts the objects of a proactive command with lengths below 256.
func walk(b []byte) (n int) {
	for b = b[headOf(b):]; len(b) >= 2; n++ {
		head := headOf(b)
		b = b[head+int(b[head-1]):]
	}
	return n
}

// headOf is the length of a tag and its length.
func headOf(b []byte) int {
	if b[1] == 0x81 {
		return 3
	}
	return 2
}

func always(s stand) func(context.Context) (stand, error) {
	return func(context.Context) (stand, error) { return s, nil }
}

// perItem measures nanoseconds for each of the n things that f does.
func perItem(n int, f func() error) measurement {
	return func(ctx context.Context, span time.Duration) (float64, error) {
		done := 0
		start := time.Now()
		for time.Since(start) < span {
			for range 1000 {
				if err := f(); err != nil {
					return 0, err
				}
			}
			done += 1000 * n
		}
		return float64(time.Since(start)) / float64(done), nil
	}
}
