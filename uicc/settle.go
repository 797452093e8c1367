package uicc

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Tap sees each raw exchange, in order, from the goroutine that calls Transmit: the bytes that the card was sent and its
// response with the status word, nil where the transport failed; when it began, and how long it took. It must not
// keep or change the slices. PINs, logins and passwords pass through it as they are.
type Tap func(capdu, rapdu []byte, start time.Time, dur time.Duration)

// maxGetResponse bounds the GET RESPONSE commands after one command: 64 KiB of data, more than any response APDU has.
const maxGetResponse = 256

// ErrEndless says that the card announced ever more response data.
var ErrEndless = errors.New("uicc: GET RESPONSE does not come to an end")

// Settle makes a Card that settles what T=0 leaves to the terminal (TS 102 221 clause 7.3.1.1, ISO/IEC 7816-3 clause
// 10.3 and 12.2), on top of one that passes APDUs as they are. Where raw settles it already, as readers of APDU level
// and T=1 do, nothing changes.
//
//   - 6Cxx: the command is repeated once with Le = xx. xx may exceed the Le that was asked for; all data passes up.
//   - 61xx, for class A0 9Fxx and 9Exx: GET RESPONSE as long as the card says 61xx; the data is joined. Its class is the
//     interindustry class of the command's logical channel (TS 102 221 table 10.5); for class A0 it is A0. The status
//     word is the last one, so 91xx after GET RESPONSE passes up. Only 9Exx, a failed download, stays.
//   - 62xx, 63xx without data after a command of case 4, with or without its Le (an ENVELOPE, for one): the data is
//     fetched by GET RESPONSE with Le = 00, which the card corrects by 6Cxx (clause 7.3.1.1.4). The warning stays the
//     status word, unless 91xx follows; where the card has no data, the warning alone passes up. Readers of APDU level
//     may leave this to the host, so that it is done whatever lies below.
//
// A card that refuses GET RESPONSE in the interindustry class with 6E00, after a command of a class of its own (80 to EF), is asked
// again in that class.
//
// Transmit returns an error that wraps ErrCommand, and sends nothing, where the command APDU is none of the short form.
// Errors of raw pass through.
func Settle(raw Card, taps ...Tap) Card {
	return &settled{Card: raw, taps: taps}
}

type settled struct {
	Card
	taps []Tap
}

func (s *settled) Transmit(ctx context.Context, capdu []byte) ([]byte, error) {
	cmd, err := ParseCommand(capdu)
	if err != nil {
		return nil, err
	}
	data, sw, err := s.corrected(ctx, cmd)
	if err != nil {
		return nil, err
	}
	if n, ok := sw.ResponseAvailable(); ok {
		failed := sw.SW1() == 0x9E
		more, last, err := s.response(ctx, cmd.CLA, n)
		if err != nil {
			return nil, err
		}
		data = append(data, more...)
		if !failed || isProactive(last) {
			sw = last
		}
	} else if sw.Warning() && len(cmd.Data) > 0 && cmd.wantsData() && len(data) == 0 {
		more, last, err := s.response(ctx, cmd.CLA, MaxLe)
		if err != nil {
			return nil, err
		}
		// Where the card has no data, last is its complaint about a command that the caller did not send.
		data = more
		if isProactive(last) {
			sw = last
		}
	}
	return append(data, sw.SW1(), sw.SW2()), nil
}

func isProactive(sw StatusWord) bool {
	_, ok := sw.Proactive()
	return ok
}

// response fetches by GET RESPONSE, n bytes first and then what the card announces, until it announces no more.
func (s *settled) response(ctx context.Context, cla byte, n int) (data []byte, sw StatusWord, err error) {
	own := cla
	if base, ok := interindustry(cla); ok {
		cla = base
	}
	for range maxGetResponse {
		part, sw, err := s.corrected(ctx, GetResponse(cla, n))
		if err != nil {
			return nil, 0, err
		}
		if cla != own && sw == SWClassNotSupported && len(data) == 0 {
			cla = own
			continue
		}
		data = append(data, part...)
		if sw.SW1() != 0x61 {
			return data, sw, nil
		}
		n, _ = sw.ResponseAvailable()
	}
	return nil, 0, fmt.Errorf("%w: stopped after %d", ErrEndless, maxGetResponse)
}

// interindustry gives the class 0X, 4X or 6X with the logical channel of the class 8X, CX or EX (TS 102 221 clause
// 10.1.1). Class A0, of the GSM SIM, has no counterpart.
func interindustry(cla byte) (base byte, ok bool) {
	switch cla >> 4 {
	case 0x8, 0xC, 0xD, 0xE:
		return cla &^ 0x80, true
	}
	return 0, false
}

// corrected exchanges cmd, and once more with the right Le where the card answers 6Cxx. Where Le cannot be the reason
// (case 3), or the card insists, 6Cxx passes up.
func (s *settled) corrected(ctx context.Context, cmd Command) ([]byte, StatusWord, error) {
	data, sw, err := s.exchange(ctx, cmd)
	if err != nil {
		return nil, 0, err
	}
	if le, ok := sw.WrongLe(); ok && cmd.Case() != 3 {
		cmd.Le = le
		return s.exchange(ctx, cmd)
	}
	return data, sw, nil
}

// exchange is one raw exchange.
func (s *settled) exchange(ctx context.Context, cmd Command) ([]byte, StatusWord, error) {
	if err := ctx.Err(); err != nil {
		return nil, 0, err
	}
	capdu, err := cmd.MarshalBinary()
	if err != nil {
		return nil, 0, err
	}
	start := time.Now()
	rapdu, err := s.Card.Transmit(ctx, capdu)
	dur := time.Since(start)
	if err != nil {
		rapdu = nil
	}
	for _, tap := range s.taps {
		tap(capdu, rapdu, start, dur)
	}
	if err != nil {
		return nil, 0, err
	}
	return SplitResponse(rapdu)
}
