package cat

import (
	"context"
	"encoding/hex"

	"bipd/trace"
	"bipd/uicc"
)

// Classes and instructions (ETSI TS 102 221 table 10.5; 3GPP TS 51.011 clause 9.2 for class A0).
const (
	classInterindustry = 0x00
	classToolkit       = 0x80
	classGSM           = 0xA0

	insTerminalProfile  = 0x10
	insFetch            = 0x12
	insTerminalResponse = 0x14
	insVerify           = 0x20
	insSelect           = 0xA4
	insReadBinary       = 0xB0
	insReadRecord       = 0xB2
	insEnvelope         = 0xC2
	insStatus           = 0xF2
)

func (s *Session) toolkitClass() byte {
	if s.gsm {
		return classGSM
	}
	return classToolkit
}

// transmit sends one command and notes whether the card has a proactive command waiting. le is the length of the
// response that is asked for, 1 to 256; 0 where none is expected.
func (s *Session) transmit(ctx context.Context, cla, ins, p1, p2 byte, data []byte, le int) ([]byte, uicc.StatusWord, error) {
	apdu, err := uicc.Command{CLA: cla, INS: ins, P1: p1, P2: p2, Data: data, Le: le}.MarshalBinary()
	if err != nil {
		return nil, 0, err
	}
	rapdu, err := s.card.Transmit(ctx, apdu)
	if err != nil {
		return nil, 0, err
	}
	data, sw, err := uicc.SplitResponse(rapdu)
	if err != nil {
		return nil, 0, err
	}
	if n, ok := sw.Proactive(); ok && s.outstanding == nil {
		s.waiting = n
	}
	return data, sw, nil
}

// status sends STATUS (ETSI TS 102 221 clause 11.1.2): p1 01 says that the application is initialised. Cards that refuse
// the form without response data get the one with it.
func (s *Session) status(ctx context.Context, p1 byte) (uicc.StatusWord, error) {
	if s.gsm { // 3GPP TS 51.011 clause 9.2.2: no parameters, and 22 octets exist at least
		_, sw, err := s.transmit(ctx, classGSM, insStatus, 0, 0, nil, 22)
		return sw, err
	}
	if s.shortStatus {
		_, sw, err := s.transmit(ctx, classToolkit, insStatus, p1, 0x0C, nil, 0)
		if err != nil || sw.OK() || sw.Warning() {
			return sw, err
		}
		s.shortStatus = false
	}
	_, sw, err := s.transmit(ctx, classToolkit, insStatus, p1, 0x00, nil, 256)
	return sw, err
}

// channelCommand reports whether the gateway traces the command itself, as a step of its method.
func (t CommandType) channelCommand() bool { return t >= TypeOpenChannel && t <= TypeGetChannelStatus }

func (s *Session) traceCommand(c Command) {
	if s.cfg.Trace.Wanted() && (!c.Details.Type.channelCommand() || c.Body == nil) {
		s.emit(trace.UICC, trace.CP, "FETCH: "+c.Details.Type.String())
	}
}

func (s *Session) traceResponse(c Command, r Response) {
	if s.cfg.Trace.Wanted() && (!c.Details.Type.channelCommand() || c.Body == nil) {
		s.emit(trace.CP, trace.UICC, "TERMINAL RESPONSE: "+r.Result.String())
	}
}

func (s *Session) emit(from, to trace.Party, what string) {
	s.cfg.Trace.Emit(trace.Event{Card: s.cfg.Name, From: from, To: to, What: what})
}

func hexOf(b []byte) string { return hex.EncodeToString(b) }
