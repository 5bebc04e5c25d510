// What all stories begin with: people who register and log in, and waiting for what happens.
import { ClientEvent, createClient } from "matrix-js-sdk";
import { logger } from "matrix-js-sdk/lib/logger.js";

logger.setLevel(process.env.LOG ?? "silent");
export const [baseUrl] = process.argv.slice(2);
export const password = "a password that is long enough";
export const LIMIT_MS = 120_000;

export function happens(emitter, event, test = () => true) {
    return new Promise((resolve, reject) => {
        const timer = setTimeout(() => reject(new Error(`${event} did not come`)), LIMIT_MS);
        const heard = (...words) => {
            if (!test(...words)) return;
            clearTimeout(timer);
            emitter.off(event, heard);
            resolve(words);
        };
        emitter.on(event, heard);
    });
}

export async function register(name) {
    await createClient({ baseUrl }).registerRequest({ username: name, password, auth: { type: "m.login.dummy" } });
}

// A client at a new device of somebody, not started; `more` goes to createClient.
export async function device(name, more = {}) {
    const session = await createClient({ baseUrl }).loginRequest({
        type: "m.login.password",
        identifier: { type: "m.id.user", user: name },
        password,
    });
    return createClient({
        baseUrl,
        userId: session.user_id,
        deviceId: session.device_id,
        accessToken: session.access_token,
        ...more,
    });
}

export async function start(client, options = { initialSyncLimit: 5, lazyLoadMembers: true, threadSupport: true }) {
    const ready = happens(client, ClientEvent.Sync, (state) => state === "PREPARED");
    await client.startClient(options);
    await ready;
    return client;
}

// Somebody new, at their first device, in sync.
export async function person(name) {
    await register(name);
    return start(await device(name));
}

export function tell(facts) {
    process.stdout.write(JSON.stringify(facts) + "\n");
    process.exit(0);
}
