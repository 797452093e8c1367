package mux

import (
	"errors"
	"fmt"
	"time"
)

// messageType is the type octet of a control channel message with EA 1 and C/R 0
// (TS 27.010 clause 5.4.6.3).
type messageType byte

const (
	msgPN    messageType = 0x81 // DLC parameter negotiation
	msgPSC   messageType = 0x41 // power saving control
	msgCLD   messageType = 0xc1 // multiplexer close down
	msgTest  messageType = 0x21 // test
	msgFCon  messageType = 0xa1 // flow control on: the sender can receive again
	msgFCoff messageType = 0x61 // flow control off: the sender cannot receive
	msgMSC   messageType = 0xe1 // modem status
	msgNSC   messageType = 0x11 // non supported command, a response
	msgRPN   messageType = 0x91 // remote port negotiation
	msgRLS   messageType = 0x51 // remote line status
)

func (t messageType) String() string {
	switch t {
	case msgPN:
		return "PN"
	case msgPSC:
		return "PSC"
	case msgCLD:
		return "CLD"
	case msgTest:
		return "Test"
	case msgFCon:
		return "FCon"
	case msgFCoff:
		return "FCoff"
	case msgMSC:
		return "MSC"
	case msgNSC:
		return "NSC"
	case msgRPN:
		return "RPN"
	case msgRLS:
		return "RLS"
	}
	return fmt.Sprintf("message %02x", byte(t))
}

// message is one message on DLCI 0: type, length, value (clause 5.4.6.1).
type message struct {
	typ     messageType
	command bool // C/R of the type octet: a command, else a response
	value   []byte
}

var errMessage = errors.New("mux: malformed control message")

func (m message) typeOctet() byte {
	if m.command {
		return byte(m.typ) | bitCR
	}
	return byte(m.typ)
}

// appendMessage appends m. Its value is at most maxInfo octets.
func appendMessage(dst []byte, m message) []byte {
	dst = append(dst, m.typeOctet())
	if n := len(m.value); n <= 127 {
		dst = append(dst, byte(n)<<1|bitEA)
	} else {
		dst = append(dst, byte(n)<<1, byte(n>>7)<<1|bitEA)
	}
	return append(dst, m.value...)
}

// parseMessage reads the first message in b and gives the rest. A missing length
// octet means no value, and a length beyond the frame means its end: messages with
// a wrong inner length are in print and on lines, for example a CLD of one octet.
func parseMessage(b []byte) (m message, rest []byte, err error) {
	if len(b) == 0 || b[0]&bitEA == 0 { // no type is longer than one octet
		return message{}, nil, errMessage
	}
	m.typ = messageType(b[0] &^ bitCR)
	m.command = b[0]&bitCR != 0
	length, i := 0, 1
	for shift := 0; i < len(b); i++ {
		if shift > 14 {
			return message{}, nil, errMessage
		}
		length |= int(b[i]>>1) << shift
		shift += 7
		if b[i]&bitEA != 0 {
			i++
			break
		}
	}
	end := min(i+length, len(b))
	m.value = b[i:end:end]
	return m, b[end:], nil
}

// V.24 signals of an MSC message (clause 5.4.6.3.7).
const (
	signalEA  = 0x01
	signalFC  = 0x02 // the sender of the MSC cannot receive
	signalRTC = 0x04 // ready to communicate
	signalRTR = 0x08 // ready to receive
	signalDV  = 0x80 // data valid

	// signalsReady is always sent: a peer may stop for good without RTR, and
	// Linux opens its port only when DV is there.
	signalsReady = signalEA | signalRTC | signalRTR | signalDV
)

// modemStatus is the value of an MSC message. The break octet is not kept.
type modemStatus struct {
	dlci    int
	signals byte
}

func (s modemStatus) value() []byte {
	return []byte{byte(s.dlci)<<2 | bitCR | bitEA, s.signals}
}

func parseModemStatus(b []byte) (modemStatus, error) {
	if len(b) < 2 {
		return modemStatus{}, fmt.Errorf("%w: MSC of %d octets", errMessage, len(b))
	}
	return modemStatus{dlci: int(b[0] >> 2), signals: b[1]}, nil
}

// parameters is the value of a PN message (clause 5.4.6.3.1).
type parameters struct {
	dlci     int
	frames   byte // low half: frame type I, 0 = UIH; high half: convergence layer CL, 0 = type 1
	priority byte
	t1       time.Duration // on the line in units of 10 ms
	n1       int
	n2       byte
	k        byte // window of the error recovery mode
}

const parametersLen = 8

// defaultWindow is k where nothing else was agreed: it has no meaning for UIH.
const defaultWindow = 2

// defaultPriority is that of a DLC where nothing else was agreed: 7 for DLCI 1 to 7, 15 for 8 to 15 and so on, 61 for 56
// to 61 (clause 5.6). A smaller number goes first.
func defaultPriority(dlci int) byte { return byte(min(dlci|7, highestDLCI)) }

func (p parameters) value() []byte {
	t1 := min(p.t1/(10*time.Millisecond), 255)
	return []byte{byte(p.dlci), p.frames, p.priority, byte(t1), byte(p.n1), byte(p.n1 >> 8), p.n2, p.k}
}

func parseParameters(b []byte) (parameters, error) {
	if len(b) < parametersLen {
		return parameters{}, fmt.Errorf("%w: PN of %d octets", errMessage, len(b))
	}
	return parameters{
		dlci:     int(b[0] & 0x3f),
		frames:   b[1],
		priority: b[2],
		t1:       time.Duration(b[3]) * 10 * time.Millisecond,
		n1:       int(b[4]) | int(b[5])<<8,
		n2:       b[6],
		k:        b[7],
	}, nil
}

// portSettings is the answer to an RPN query of one octet (clause 5.4.6.3.9): the
// standard's defaults, 9600 8N1 without flow control, for no real port is behind a DLC.
func portSettings(dlciOctet byte) []byte {
	return []byte{dlciOctet, 0x03, 0x03, 0x00, 0x11, 0x13, 0x7f, 0x3f}
}
