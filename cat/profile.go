package cat

import "fmt"

// Facility is one bit of the TERMINAL PROFILE (clause 5.2): octets count from 1, bits from 1 (lowest).
type Facility struct{ Octet, Bit int }

// Facilities that handlers may claim. A card chooses its commands by them.
var (
	FacilityProfileDownload      = Facility{1, 1}
	FacilitySMSPPDownload        = Facility{1, 2}
	FacilityMenuSelection        = Facility{1, 4}
	FacilityTimerExpiration      = Facility{1, 6}
	FacilityCommandResult        = Facility{2, 1}
	FacilityDisplayText          = Facility{3, 1}
	FacilityMoreTime             = Facility{3, 4}
	FacilityPollInterval         = Facility{3, 6}
	FacilityPollingOff           = Facility{3, 7}
	FacilityRefresh              = Facility{3, 8}
	FacilitySendShortMessage     = Facility{4, 2}
	FacilitySetUpMenu            = Facility{4, 6}
	FacilityLocalInformation     = Facility{4, 7} // location, IMEI
	FacilitySetUpEventList       = Facility{5, 1}
	FacilityLocationStatus       = Facility{5, 5}
	FacilityDataAvailable        = Facility{6, 3}
	FacilityChannelStatus        = Facility{6, 4}
	FacilityTimerStart           = Facility{8, 1}
	FacilityTimerGetValue        = Facility{8, 2}
	FacilityDateTime             = Facility{8, 3}
	FacilitySetUpIdleModeText    = Facility{8, 5}
	FacilityLanguage             = Facility{9, 4}
	FacilityLanguageNotification = Facility{9, 6}
	FacilityOpenChannel          = Facility{12, 1}
	FacilityCloseChannel         = Facility{12, 2}
	FacilityReceiveData          = Facility{12, 3}
	FacilitySendData             = Facility{12, 4}
	FacilityGetChannelStatus     = Facility{12, 5}
	FacilityGPRS                 = Facility{13, 2}
	FacilityNoDisplay            = Facility{14, 6}
	FacilityNoKeypad             = Facility{14, 7}
	FacilityTCPClient            = Facility{17, 1}
	FacilityTCPServer            = Facility{17, 3}
	FacilityTCPClientLocal       = Facility{17, 4}
	FacilityUDPClientLocal       = Facility{17, 5}
	FacilityUDPClient            = Facility{17, 2}
	FacilityEUTRAN               = Facility{17, 7}
	FacilityHSDPA                = Facility{17, 8}
	FacilityUTRANExtended        = Facility{22, 1}
	FacilityWLANBearer           = Facility{30, 1}
	FacilityAccessReuse          = Facility{33, 2} // CLOSE CHANNEL keeps the network access name
	FacilityDNSRequest           = Facility{33, 1}
	FacilityRefreshEUICCProfile  = Facility{34, 6} // REFRESH "eUICC profile state change"
)

// FacilityChannels are the bits that say that n channels are supported (octet 13, bits 6 to 8).
func FacilityChannels(n int) []Facility {
	var f []Facility
	for bit := range 3 {
		if n>>bit&1 != 0 {
			f = append(f, Facility{13, 6 + bit})
		}
	}
	return f
}

// maxProfile bounds the profile: octets of clause 5.2.
const maxProfile = 40

// Profile makes the data of a TERMINAL PROFILE, no longer than the last octet in use.
func Profile(facilities ...Facility) []byte {
	var p []byte
	for _, f := range facilities {
		if f.Octet < 1 || f.Octet > maxProfile || f.Bit < 1 || f.Bit > 8 {
			panic(fmt.Sprintf("cat: no such facility: octet %d bit %d", f.Octet, f.Bit))
		}
		for len(p) < f.Octet {
			p = append(p, 0)
		}
		p[f.Octet-1] |= 1 << (f.Bit - 1)
	}
	return p
}
