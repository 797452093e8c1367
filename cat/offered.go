package cat

import (
	"cmp"
	"maps"
	"strings"
)

// The bits of the TERMINAL PROFILE that say that something is offered (clause 5.2). What has no bit of its own is not here.
var (
	typeFacilities = map[CommandType]Facility{
		TypeDisplayText: {3, 1}, TypeGetInkey: {3, 2}, TypeGetInput: {3, 3}, TypeMoreTime: FacilityMoreTime, TypePlayTone: {3, 5},
		TypePollInterval: FacilityPollInterval, TypePollingOff: FacilityPollingOff, TypeRefresh: FacilityRefresh,
		TypeSelectItem: {4, 1}, TypeSendShortMessage: {4, 2}, TypeSendSS: {4, 3}, TypeSendUSSD: {4, 4}, TypeSetUpCall: {4, 5},
		TypeSetUpMenu: {4, 6}, TypeProvideLocalInformation: FacilityLocalInformation, TypeSetUpEventList: FacilitySetUpEventList,
		TypePowerOnCard: {7, 1}, TypePowerOffCard: {7, 2}, TypePerformCardAPDU: {7, 3}, TypeGetReaderStatus: {7, 4},
		TypeTimerManagement: FacilityTimerStart, TypeSetUpIdleModeText: {8, 5}, TypeRunATCommand: {8, 6}, TypeSendDTMF: {9, 2},
		TypeLanguageNotification: FacilityLanguageNotification, TypeLaunchBrowser: {9, 7},
		TypeOpenChannel: FacilityOpenChannel, TypeCloseChannel: FacilityCloseChannel, TypeReceiveData: FacilityReceiveData,
		TypeSendData: FacilitySendData, TypeGetChannelStatus: FacilityGetChannelStatus,
		TypeServiceSearch: {12, 6}, TypeGetServiceInformation: {12, 7}, TypeDeclareService: {12, 8},
	}
	eventFacilities = map[EventCode]Facility{
		EventMTCall: {5, 2}, EventCallConnected: {5, 3}, EventCallDisconnected: {5, 4}, EventLocationStatus: FacilityLocationStatus,
		EventUserActivity: {5, 6}, EventIdleScreen: {5, 7}, EventCardReaderStatus: {5, 8}, EventLanguageSelection: {6, 1}, 0x08: {6, 2},
		EventDataAvailable: FacilityDataAvailable, EventChannelStatus: FacilityChannelStatus, EventAccessTechnology: {6, 5},
		0x0C: {6, 6}, 0x0D: {6, 7}, 0x0E: {6, 8},
	}
	transportFacilities = map[TransportProtocol]Facility{
		TCPClientRemote: FacilityTCPClient, UDPClientRemote: FacilityUDPClient, TCPServer: {17, 3}, TCPClientLocal: {17, 4},
		UDPClientLocal: {17, 5}, DirectChannel: {17, 6},
	}
	bearerFacilities = map[BearerType]Facility{
		BearerCSD: {13, 1}, BearerPacket: FacilityGPRS, 0x05: {13, 3}, 0x06: {13, 4}, 0x07: {13, 5},
		BearerUTRAN: FacilityUTRANExtended, BearerWLAN: FacilityWLANBearer, BearerEUTRAN: FacilityEUTRAN, 0x10: {18, 3},
	}
)

// In reports whether the bit is set in the data of a TERMINAL PROFILE. Octets that are not there count as zero.
func (f Facility) In(profile []byte) bool {
	return f.Octet >= 1 && f.Octet <= len(profile) && profile[f.Octet-1]>>(f.Bit-1)&1 != 0
}

// Facility is the bit that says that the command is offered, false where it has none of its own.
func (t CommandType) Facility() (Facility, bool) { f, ok := typeFacilities[t]; return f, ok }

// Facility is the bit that says that the event is offered, false where it has none here.
func (e EventCode) Facility() (Facility, bool) { f, ok := eventFacilities[e]; return f, ok }

// Facility is the bit that says that the transport protocol is offered.
func (p TransportProtocol) Facility() (Facility, bool) { f, ok := transportFacilities[p]; return f, ok }

// Facility is the bit that says that the bearer is offered, false where it has none, as the default bearer.
func (t BearerType) Facility() (Facility, bool) { f, ok := bearerFacilities[t]; return f, ok }

// otherFacilities are the bits that stand for neither a command nor an event, transport or bearer, and those of a
// command that has several.
var otherFacilities = map[Facility]string{
	FacilityProfileDownload: "profile download", FacilitySMSPPDownload: "SMS-PP data download", {1, 3}: "cell broadcast data download",
	FacilityMenuSelection: "menu selection", {1, 5}: "SMS-PP data download, further support", FacilityTimerExpiration: "timer expiration",
	FacilityCommandResult: "command result", FacilityLocalInformation: "PROVIDE LOCAL INFORMATION: location, IMEI",
	{4, 8}: "PROVIDE LOCAL INFORMATION: network measurement results", {7, 5}: "GET READER STATUS: reader identifier",
	FacilityTimerStart: "TIMER MANAGEMENT: start, stop", FacilityTimerGetValue: "TIMER MANAGEMENT: read",
	FacilityDateTime: "PROVIDE LOCAL INFORMATION: date, time and time zone", FacilityLanguage: "PROVIDE LOCAL INFORMATION: language",
	{9, 5}: "PROVIDE LOCAL INFORMATION: timing advance", {9, 8}: "PROVIDE LOCAL INFORMATION: access technology",
	{13, 6}: "number of channels, 1", {13, 7}: "number of channels, 2", {13, 8}: "number of channels, 4",
	FacilityNoDisplay: "no display", FacilityNoKeypad: "no keypad", FacilityHSDPA: "bearer HSDPA",
	{18, 7}: "PROVIDE LOCAL INFORMATION: IMEISV", {30, 3}: "terminal applications", FacilityDNSRequest: "DNS server address request",
	{33, 2}: "CLOSE CHANNEL: reuse of the network access name", {33, 3}: "poll interval negotiation", {33, 7}: "bearer WLAN",
	FacilityRefreshEUICCProfile: "REFRESH: eUICC profile state change",
}

// facilityNames are all that are known.
var facilityNames = func() map[Facility]string {
	names := map[Facility]string{}
	for t, f := range typeFacilities {
		names[f] = t.String()
	}
	for e, f := range eventFacilities {
		names[f] = "event: " + e.String()
	}
	for p, f := range transportFacilities {
		names[f] = "transport " + p.String()
	}
	for t, f := range bearerFacilities {
		names[f] = "bearer " + t.String()
	}
	maps.Copy(names, otherFacilities)
	return names
}()

// Name says what the bit offers; empty where that is not known here.
func (f Facility) Name() string { return facilityNames[f] }

// offers names what a TERMINAL PROFILE offers.
func offers(profile []byte) string {
	var names []string
	for _, f := range Facilities(profile) {
		names = append(names, f.Name())
	}
	return strings.Join(names, ", ")
}

// Compare orders facilities by octet and bit.
func (f Facility) Compare(g Facility) int {
	return cmp.Or(cmp.Compare(f.Octet, g.Octet), cmp.Compare(f.Bit, g.Bit))
}

// Facilities lists the bits that are set in the data of a TERMINAL PROFILE, in order: the opposite of Profile.
func Facilities(profile []byte) []Facility {
	var list []Facility
	for i, octet := range profile {
		for bit := range 8 {
			if octet>>bit&1 != 0 {
				list = append(list, Facility{i + 1, bit + 1})
			}
		}
	}
	return list
}
