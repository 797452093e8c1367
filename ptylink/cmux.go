package ptylink

import (
	"fmt"
	"io"
	"log/slog"
	"time"

	"bipd/ptylink/at"
	"bipd/ptylink/mux"
)

// AT+CMUX, 3GPP TS 27.007 5.7: it starts the multiplexer.
//
//	AT+CMUX=<mode>[,<subset>[,<port_speed>[,<N1>[,<T1>[,<N2>[,<T2>[,<T3>[,<k>]]]]]]]]
//
// T1 and T2 are in units of 10 ms, T3 in seconds. N1 left out is the standard's, unless the
// AP's configuration names one; timers left out are the AP's own. T3
// (wake-up from power saving) and k (window of the error recovery mode) are taken and have no use here.
//
// The ranges are written as single values and ranges alone, for ofono reads no list.
const (
	nameCMUX  = "+CMUX"
	cmuxUsage = "(0-1),(0),(1-8),(31-1500),(1-255),(0-100),(2-255),(1-255),(1-7)"
	muxUnit   = 10 * time.Millisecond

	standardN1         = 31 // 27.010 5.7.2, basic option
	standardN1Advanced = 64

	muxOverhead = 7                      // octets of a frame around its payload at most
	muxT1       = 300 * time.Millisecond // package mux's own, good for 512 octets at 115200 bit/s
)

// portSpeeds are the codes of <port_speed>, in bit/s. Those above mostSent came later: the CP leaves them out.
var portSpeeds = map[int]uint64{9600: 1, 19200: 2, 38400: 3, 57600: 4, 115200: 5, 230400: 6, 460800: 7, 921600: 8}

const mostSent = 6

// cmuxCommand asks for the multiplexer that cfg describes. speed is that of the line, 0 where it has none.
func cmuxCommand(cfg mux.Config, speed int) at.Command {
	args := []at.Arg{at.Num(flag(cfg.Advanced)), at.Num(0), {}, at.Num(uint64(cfg.N1)), {}, {}}
	if code, ok := portSpeeds[speed]; ok && code <= mostSent {
		args[2] = at.Num(code)
	}
	if cfg.T1 > 0 {
		args[4] = at.Num(uint64(min(max((cfg.T1+muxUnit-1)/muxUnit, 1), 255)))
	}
	if cfg.N2 > 0 {
		args[5] = at.Num(uint64(min(cfg.N2, 100)))
	}
	for args[len(args)-1].Kind == at.Empty {
		args = args[:len(args)-1]
	}
	return at.Command{Name: nameCMUX, Form: at.Set, Args: args}
}

// parseCMUX gives cfg with what the command asks for. A speed other than that of the line (0: it has none) is refused,
// for nobody would switch it.
func parseCMUX(c at.Command, cfg mux.Config, speed int) (mux.Config, error) {
	v, err := setValues(c, nameCMUX)
	if err != nil {
		return cfg, err
	}
	cfg.Advanced = v.Number("mode", 0, 1) == 1
	v.NumberOr("subset", 0, 0, 0) // UIH frames only
	code := v.NumberOr("port speed", 1, 8, 0)
	cfg.N1 = int(v.NumberOr("N1", standardN1, mux.MaxN1, uint64(cfg.N1)))
	switch {
	case cfg.N1 > 0:
	case cfg.Advanced:
		cfg.N1 = standardN1Advanced
	default:
		cfg.N1 = standardN1
	}
	if n := v.NumberOr("T1", 1, 255, 0); n > 0 {
		cfg.T1 = time.Duration(n) * muxUnit
	}
	if n := v.NumberOr("N2", 0, 100, 0); n > 0 {
		cfg.N2 = int(n)
	}
	if n := v.NumberOr("T2", 2, 255, 0); n > 0 {
		cfg.T2 = time.Duration(n) * muxUnit
	}
	v.NumberOr("T3", 1, 255, 0)
	v.NumberOr("k", 1, 7, 0)
	if err := v.End(); err != nil {
		return cfg, err
	}
	if speed != 0 && code != 0 && code != portSpeeds[speed] {
		return cfg, fmt.Errorf("%w: the line's speed is %d bit/s", at.ErrParameters, speed)
	}
	return cfg, nil
}

// lineSpeed is the speed of a UART in bit/s, 0 for what has none or does not tell.
func lineSpeed(line io.ReadWriteCloser) int {
	if s, ok := line.(interface{ Speed() int }); ok {
		return s.Speed()
	}
	return 0
}

// muxConfig fills what both ends of a line need in a multiplexer's configuration.
func muxConfig(cfg mux.Config, role mux.Role, log *slog.Logger) mux.Config {
	cfg.Role = role
	switch {
	case cfg.KeepAlive == 0:
		cfg.KeepAlive = keepAlive
	case cfg.KeepAlive < 0:
		cfg.KeepAlive = 0
	}
	if cfg.Log == nil {
		cfg.Log = log
	}
	return cfg
}

// longestFrame bounds the time of a frame on a UART, for an AT command may have to wait as long.
const longestFrame = 46 * time.Millisecond

// frameTime is how long a frame with n octets of information takes: start bit, 8 bits, stop bit.
func frameTime(n, speed int) time.Duration {
	return time.Duration(n+muxOverhead) * 10 * time.Second / time.Duration(speed)
}

// bestN1 is N1 for a line of a speed, 0 for a pty: the longest within longestFrame. 1499, not 1500, for the sake of Linux
// n_gsm, which drops the latter. On a pty more than 512 gains nothing, since frames share a write.
func bestN1(speed int) int {
	best := standardN1
	for _, n := range []int{64, 127, 256, 512, 1499} {
		if speed > 0 && frameTime(n, speed) <= longestFrame || speed == 0 && n <= 512 {
			best = n
		}
	}
	return best
}

// paced fits N1, timers and queue to the line's speed, 0 for a pty, where the configuration leaves them open: an answer may
// have to wait for the frame before it, and an AT command for what the kernel holds already.
func paced(cfg mux.Config, speed int) mux.Config {
	if cfg.N1 == 0 {
		cfg.N1 = bestN1(speed)
	}
	if speed <= 0 {
		return cfg
	}
	if t1 := 4*frameTime(cfg.N1, speed) + 100*time.Millisecond; cfg.T1 == 0 && t1 > muxT1 {
		cfg.T1 = t1
		if cfg.T2 == 0 {
			cfg.T2 = 2 * t1
		}
	}
	if cfg.WriteSize == 0 {
		cfg.WriteSize = cfg.N1 + muxOverhead
	}
	return cfg
}

// closeDown gives the octets that end a multiplexer at the other end, whatever its option is, and mean nothing to an AT
// client or server: flags to end a frame that was begun, CLD (27.010 5.4.6.3.3) and DISC on DLCI 0 in basic and in advanced
// option, CR to end the line that they are in AT mode.
func closeDown(role mux.Role) string {
	if role == mux.Initiator {
		return "\xf9\xf9\x03\xef\x05\xc3\x01\xf2\xf9\xf9\x03\x53\x01\xfd\xf9" + "\x7e\x7e\x03\xef\xc3\x01\x70\x7e\x7e\x03\x53\xbd\x7e\r"
	}
	return "\xf9\xf9\x01\xef\x05\xc3\x01\x93\xf9\xf9\x01\x53\x01\x9c\xf9" + "\x7e\x7e\x01\xef\xc3\x01\xaa\x7e\x7e\x01\x53\x67\x7e\r"
}

// restLine is a line of which something was read already.
type restLine struct {
	io.ReadWriteCloser
	rest []byte
}

func (l *restLine) Read(p []byte) (int, error) {
	if len(l.rest) > 0 {
		n := copy(p, l.rest)
		l.rest = l.rest[n:]
		return n, nil
	}
	return l.ReadWriteCloser.Read(p)
}
