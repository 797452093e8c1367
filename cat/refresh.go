package cat

import (
	"context"
	"errors"
)

// errCardReset and errNewProfile end one pass: the card asked for a reset, or to be initialised anew as it stands.
var (
	errCardReset  = errors.New("cat: reset asked for by the card")
	errNewProfile = errors.New("cat: the card has changed its profile")
)

// refresh does what a mode of REFRESH asks for (clause 6.4.7), and answers after it. The session keeps no file's content, so
// that there is nothing to read again.
//
//   - 00, 02, 03: STATUS tells that the application is initialised. The card is not reset, nor is TERMINAL PROFILE repeated.
//   - 01: nothing.
//   - 04: the card is reset; this mode gets no response.
//   - 05, 06: the application is ended, selected again, and initialised.
//   - 09: the response first; then all that the card has set up is forgotten, channels are dropped, and the card is initialised
//     as at the start, without a reset.
//   - 07, 08, of roaming, and unknown ones: beyond the terminal's capabilities.
//
// Where Config.MayReset says no, 04, 05, 06 and 09 are answered 20 00: it may be worth to try again later (clause 8.12).
func (s *Session) refresh(ctx context.Context, cmd Command) error {
	var err error
	result := OK
	if beginsAnew(cmd.Details.Qualifier) && s.cfg.MayReset != nil && !s.cfg.MayReset() {
		s.log.Warn("REFRESH refused: too many in this time", "mode", cmd.Details.Qualifier)
		return s.conclude(ctx, cmd, Answer{Response: Respond(cmd, tooMany)})
	}
	switch cmd.Details.Qualifier {
	case RefreshUICCReset:
		return s.terminate(ctx)
	case RefreshFCN:
	case RefreshInitAndFullFCN, RefreshInitAndFCN, RefreshInit:
		err = s.tellInitialised(ctx)
	case RefreshApplication, RefreshSession:
		err = s.renewApplication(ctx)
	case RefreshEUICCProfile:
		if err := s.conclude(ctx, cmd, Answer{Response: Respond(cmd, OK)}); err != nil {
			return err
		}
		return errNewProfile
	default:
		result = Result{General: ResultBeyondCapabilities}
	}
	if err != nil {
		return err
	}
	s.waiting = 0 // of a card that announces a command while one is outstanding: it says so again
	return s.conclude(ctx, cmd, Answer{Response: Respond(cmd, result)})
}

// beginsAnew tells the modes that reset the card, or have it or its application initialised again.
func beginsAnew(mode byte) bool {
	switch mode {
	case RefreshUICCReset, RefreshApplication, RefreshSession, RefreshEUICCProfile:
		return true
	}
	return false
}

// renewApplication ends the application and starts it again.
func (s *Session) renewApplication(ctx context.Context) error {
	if !s.gsm {
		if _, err := s.status(ctx, 0x02); err != nil {
			return err
		}
	}
	if err := s.selectApplication(ctx); err != nil {
		return err
	}
	if err := s.verifyPIN(ctx); err != nil {
		return err
	}
	return s.tellInitialised(ctx)
}

// terminate ends the card session before the reset that the card asked for; a REFRESH of that kind gets no response.
func (s *Session) terminate(ctx context.Context) error {
	if !s.gsm { // ETSI TS 102 221 clause 11.1.2: P1 02, the current application will be terminated
		if _, err := s.status(ctx, 0x02); err != nil {
			return err
		}
	}
	return errCardReset
}
