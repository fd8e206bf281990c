"""A person in Chromium: sign in, find the recording, say why, play it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from playwright.async_api import Browser, Page, expect

from tests.console.site import PASSWORD, Site
from tests.peers.chromium import chromium, https_server, visit
from tests.peers.webm import HEIGHT, WIDTH, small_webm

pytestmark = pytest.mark.peer
LOADED = "document.getElementById('media')?.readyState >= 1"


@pytest.fixture
async def address(site: Site) -> AsyncIterator[str]:
    async with https_server(site.app, site.folder) as address:
        yield address


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    async with chromium() as browser:
        yield browser


async def sign_in(page: Page, address: str, login: str) -> None:
    await page.goto(address)
    await page.get_by_label("Login").fill(login)
    await page.get_by_label("Password").fill(PASSWORD)
    await page.get_by_role("button", name="Sign in").click()


async def open_first(page: Page) -> None:
    await page.locator("a.recording").first.click()
    await page.get_by_label("Your reason").first.fill("prepare tomorrow's session on orders")
    await page.get_by_role("button", name="Open the recording").click()


async def test_a_trainer_signs_in_says_why_and_watches(site: Site, browser: Browser, address: str) -> None:
    recording = site.record("tom", small_webm(6.0), audio_seconds=6.0)
    async with visit(browser) as visiting:
        page = visiting.page
        await sign_in(page, address, "ann")
        await expect(page.get_by_role("heading", level=1)).to_have_text("Recordings")
        assert site.journalled("viewing") == []
        await open_first(page)
        await visiting.until(LOADED)
        assert len(site.journalled("viewing")) == 1
        size = await page.evaluate("(({videoWidth, videoHeight}) => [videoWidth, videoHeight])(media)")
        assert size == [WIDTH, HEIGHT]
        assert await page.evaluate("media.duration") == pytest.approx(6.0, abs=0.05)
        await expect(page.locator("#duration")).to_have_text("0:06")

        await page.get_by_role("button", name="Play").click()
        await visiting.until("media.currentTime > 0.5 && !media.paused")
        first = await page.evaluate("media.currentTime")
        await visiting.until(f"media.currentTime > {first} + 0.5")
        await page.keyboard.press("k")
        await visiting.until("media.paused")
        await page.keyboard.press("Home")
        await visiting.until("media.currentTime === 0")
        await page.keyboard.press("ArrowRight")
        await visiting.until("Math.abs(media.currentTime - 5) < 0.01")
        await expect(page.locator("#position")).to_have_text("0:05")

        await page.get_by_role("radio", name="Caller").check()
        await page.keyboard.press("Home")
        await page.keyboard.press(" ")
        await visiting.until("media.currentTime > 0.3")

        await page.get_by_role("button", name="Mark as reviewed").click()
        await expect(page.get_by_role("status")).to_contain_text("reviewed")
        row = site.register.recordings.get(recording)
        assert row is not None
        assert row.reviewed_at_ns is not None
        assert site.outside.policy_changes == 1
        assert await visiting.csp_violations() == []
        assert visiting.complaints == []


async def test_the_film_offers_no_still_and_no_way_out_of_the_page(site: Site, browser: Browser, address: str) -> None:
    site.record("tom")
    async with visit(browser) as visiting:
        page = visiting.page
        await sign_in(page, address, "tom")
        await open_first(page)
        await visiting.until(LOADED)
        film = page.locator("#media")
        assert await film.get_attribute("poster") is None
        assert await film.get_attribute("disablepictureinpicture") is not None
        assert await film.evaluate("film => film.controls") is False
        prevented = await film.evaluate("film => !film.dispatchEvent(new Event('contextmenu', {cancelable: true}))")
        assert prevented


async def test_sound_alone_plays_too(site: Site, browser: Browser, address: str) -> None:
    site.record("tom", small_webm(4.0, film=False), film=False, frames=0)
    async with visit(browser) as visiting:
        page = visiting.page
        await sign_in(page, address, "tom")
        await open_first(page)
        await expect(page.get_by_text("This recording has sound only.")).to_be_visible()
        await page.get_by_role("button", name="Play").click()
        await visiting.until("media.currentTime > 0.5")
        assert await page.evaluate("media.duration") == pytest.approx(4.0, abs=0.05)
        assert visiting.complaints == []


async def test_a_recording_erased_while_being_watched_says_so(site: Site, browser: Browser, address: str) -> None:
    recording = site.record("tom")
    async with visit(browser) as visiting:
        page = visiting.page
        await sign_in(page, address, "tom")
        await open_first(page)
        await visiting.until(LOADED)
        site.erase(recording)
        await page.evaluate("media.src += '&again'")  # what this address gave before, Chromium still holds in memory
        await expect(page.get_by_role("alert")).to_have_text("This recording was erased.")
        await page.reload()
        await expect(page.get_by_role("heading", level=1)).to_have_text("Erased")


async def test_an_admin_excludes_a_line_and_sees_no_recording(site: Site, browser: Browser, address: str) -> None:
    site.record("tom")
    async with visit(browser) as visiting:
        page = visiting.page
        await sign_in(page, address, "ada")
        await expect(page.get_by_role("heading", level=1)).to_have_text("Excluded lines")
        await expect(page.get_by_role("link", name="Recordings")).to_have_count(0)
        await page.get_by_label("Line", exact=True).fill("not a line")
        await page.get_by_role("button", name="Exclude").click()
        await expect(page.locator("#line-error")).to_contain_text("write a number")
        await page.get_by_label("Line", exact=True).fill("2100, +33 1 42 68 53 00")
        await page.get_by_role("button", name="Exclude").click()
        await expect(page.get_by_role("status")).to_contain_text("The line is excluded")
        assert {row.text for row in site.register.exclusions.all()} == {"2100", "+33142685300"}
        assert await visiting.csp_violations() == []


async def test_a_trainee_acknowledges_the_notice_in_french(site: Site, browser: Browser, address: str) -> None:
    site.register.notices.publish("Ce qui est enregistré.\n\nEt pourquoi.", site.clock())
    async with visit(browser, language="fr-FR") as visiting:
        page = visiting.page
        await page.goto(address)
        await page.get_by_label("Identifiant").fill("tom")
        await page.get_by_label("Mot de passe").fill(PASSWORD)
        await page.get_by_role("button", name="Se connecter").click()
        await page.get_by_role("link", name="La lire").click()
        await page.get_by_role("button", name="J'ai lu cette information").click()
        await expect(page.get_by_role("status")).to_contain_text("Merci")
        assert site.register.notices.acknowledged(site.people["tom"].id)


@pytest.mark.parametrize("width", [360, 1280])
async def test_no_page_is_wider_than_its_window(site: Site, browser: Browser, address: str, width: int) -> None:
    site.record("tom")
    site.register.notices.publish("x" * 300, site.clock())
    site.register.exclusions.exclude("sip:" + "a" * 120 + "@example.org", site.people["ada"].id, site.clock())
    pages = {"tom": ("/recordings", "/notice"), "ada": ("/excluded-lines", "/health", "/nowhere")}
    for login, paths in pages.items():
        async with visit(browser, width=width, height=740) as visiting:
            page = visiting.page
            await sign_in(page, address, login)
            for path in paths:
                await page.goto(address + path)
                assert await page.evaluate("document.documentElement.scrollWidth") <= width, path
            if login == "tom":
                await page.goto(address + "/recordings")
                await open_first(page)
                await visiting.until(LOADED)
                assert await page.evaluate("document.documentElement.scrollWidth") <= width
